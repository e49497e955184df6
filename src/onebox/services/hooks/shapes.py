"""What a backend is asked about a token and about credits, and how its answers are read.

The shapes here are our own (docs/hooks.md). `familiar` has those of another server.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from onebox.services.access.caller import Caller
from onebox.services.access.keys.index import digest_of
from onebox.services.hooks.answers import PREFIX, Credit, read_credit, read_verdict
from onebox.services.hooks.backend import Asked

# Of a digest, what is shown of a caller whom the backend does not name.
DIGEST_CHARS = 16


@dataclass(frozen=True, slots=True)
class Sent:
    """A token, and whom the request names as its sender, if it does."""

    token: str
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a caller wants: an answer to it holds for the next request of the same kind.

    Attributes:
        user_id: for whom, as the backend knows them; None: that has not been said.
    """

    caller: str
    task: str
    model: str
    user_id: str | None = None


class VerifyShape(Protocol):
    """`no`: statuses by which the backend says that a token is not valid."""

    no: Collection[int]

    def asked(self, sent: Sent) -> Asked | None:
        """None: this is nothing that the backend could know of."""

    def read(self, body: bytes, sent: Sent, granted: Collection[str]) -> Caller | None:
        """Whose it is, with no other scopes than those; None when it is not valid.

        Raises BadAnswer.
        """


class CreditShape(Protocol):
    """`no`: statuses by which the backend says that a caller may not have it."""

    no: Collection[int]

    def asked(self, wanted: Wanted, request_id: str | None) -> Asked | None:
        """None: the backend has no say in this."""

    def read(self, body: bytes) -> Credit:
        """Raises BadAnswer."""


class OwnVerify:
    no: Collection[int] = (401, 403)

    def asked(self, sent: Sent) -> Asked | None:
        body = {"token": sent.token}
        if sent.user_id is not None:
            body |= {"user_id": sent.user_id, "api_key": sent.token}
        return Asked(body, {"Authorization": f"Bearer {sent.token}"})

    def read(self, body: bytes, sent: Sent, granted: Collection[str]) -> Caller | None:
        return read_verdict(body, unnamed(sent.token), granted)


class OwnCredits:
    no: Collection[int] = (402, 403)

    def asked(self, wanted: Wanted, request_id: str | None) -> Asked | None:
        body: dict[str, Any] = {
            "caller": wanted.caller,
            "task": wanted.task,
            "model": wanted.model,
            "request_id": request_id,
        }
        if (named := named_by_backend(wanted.caller)) is not None:
            body["user_id"] = named
        return Asked(body)

    def read(self, body: bytes) -> Credit:
        return read_credit(body)


def unnamed(token: str) -> str:
    """What the sender of a token is called whom the backend does not name."""
    return f"token-{digest_of(token)[:DIGEST_CHARS]}"


def named_by_backend(caller: str) -> str | None:
    """As the backend itself named a caller; None for keys and JWT of the server."""
    return caller.removeprefix(PREFIX) if caller.startswith(PREFIX) else None
