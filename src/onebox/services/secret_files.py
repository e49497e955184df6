"""Secrets that the server makes for itself, each in a file of the data folder."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from onebox.core.os_support import write_private


def _random_text() -> str:
    return secrets.token_urlsafe(32)


def stored_secret(path: Path, prefix: str, new_text: Callable[[], str] = _random_text) -> str:
    """The secret of a file, which only its owner may read: made at first use of the prefix and a
    new text.
    """
    found = read_secret(path)
    if found is not None:
        return found
    secret = prefix + new_text()
    write_private(path, secret + "\n")
    return secret


def read_secret(path: Path) -> str | None:
    """None where there is none yet."""
    return path.read_text(encoding="utf-8").strip() if path.is_file() else None
