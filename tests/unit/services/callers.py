"""Callers as tests need them."""

from __future__ import annotations

from typing import Any

from onebox.services.access.caller import Allowance, Caller


def caller(name: str = "key:1", **allowance: Any) -> Caller:
    return Caller(name, frozenset({"infer"}), Allowance(**allowance))
