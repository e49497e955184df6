"""The shapes of the backend that the familiar try-on servers stand before (docs/compat.md).

It is asked as those servers ask it, and told as they tell it, so that it needs no change.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from onebox.services.access.caller import Caller
from onebox.services.hooks.answers import DEFAULT_SCOPES, PREFIX, Credit, decoded, is_caller_id
from onebox.services.hooks.backend import Asked
from onebox.services.hooks.shapes import Sent, Wanted


class _Verdict(msgspec.Struct):
    valid: bool = True
    active: bool = True


class _CreditAnswer(msgspec.Struct):
    has_credits: bool | float | None = None
    # Told to clients where it is a number, and nothing else depends on it.
    available_credits: Any = None


class FamiliarVerify:
    """A key is asked about together with the user that it is said to belong to. Who that is needs
    no answer, so all of it but a no is left alone.
    """

    # A user that it does not know is a 400 or a 404 to many a backend.
    no: Collection[int] = (400, 401, 403, 404)

    def asked(self, sent: Sent) -> Asked | None:
        if sent.user_id is None or not is_caller_id(sent.user_id):
            return None
        # Without `Authorization`, which a backend would take for a login of its own and refuse.
        return Asked({"user_id": sent.user_id, "api_key": sent.token})

    def read(self, body: bytes, sent: Sent, granted: Collection[str]) -> Caller | None:
        verdict = decoded(body, _Verdict)
        if not (verdict.valid and verdict.active):
            return None
        return Caller(f"{PREFIX}{sent.user_id}", DEFAULT_SCOPES & frozenset(granted))


class FamiliarCredits:
    """Asked about users alone: whoever else has a key of the server is the operator's own."""

    no: Collection[int] = (400, 401, 402, 403, 404)

    def asked(self, wanted: Wanted, request_id: str | None) -> Asked | None:
        if wanted.user_id is None:
            return None
        return Asked(method="GET", query={"user_id": wanted.user_id})

    def read(self, body: bytes) -> Credit:
        """Whoever is not said to have credits has none."""
        answer = decoded(body, _CreditAnswer)
        return Credit(bool(answer.has_credits), _number(answer.available_credits))


def _number(told: Any) -> float | None:
    is_number = isinstance(told, int | float) and not isinstance(told, bool)
    return float(told) if is_number else None
