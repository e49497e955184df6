"""`Verification`: who sends a token that only the operator's backend knows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection

from onebox.core.errors import BackendUnavailable, Unauthorized
from onebox.core.settings_hooks import Fail
from onebox.services.access.caller import Caller
from onebox.services.access.keys.index import digest_of
from onebox.services.hooks.answers import DEFAULT_SCOPES, PREFIX
from onebox.services.hooks.backend import Asked, Backend, NoAnswer
from onebox.services.hooks.shapes import OwnVerify, Sent, VerifyShape, unnamed
from onebox.services.hooks.shared_calls import (
    BUSY_RETRY_S,
    ON_THEIR_WAY,
    REMEMBERED,
    Memory,
    SharedCalls,
    TooManyCalls,
)

# How long it is remembered that a token was good, though the backend is asked anew.
SEEN_S = 3600.0
# Anything else could not be sent in a header as it is.
TOKEN = re.compile(r"[!-~]+")


class Verification:
    """Lives on the gateway's event loop. Tokens are kept as digests only.

    Args:
        shape: how the backend is asked; as docs/hooks.md has it by default.
        fail: what happens to a token when the backend gives no answer.
        granted: scopes that the backend may grant.
        seconds: how long an answer holds, be it yes or no.
        size: answers of each kind that are remembered.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        shape: VerifyShape | None = None,
        fail: Fail = "closed",
        granted: Collection[str] = DEFAULT_SCOPES,
        seconds: float,
        size: int = REMEMBERED,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._shape = shape or OwnVerify()
        self._fail = fail
        self._granted = frozenset(granted)
        # Apart, so that guessed tokens drive no good one out.
        self._good: Memory[str, Caller] = Memory(seconds, size, clock)
        self._bad: Memory[str, bool] = Memory(seconds, size, clock)
        self._seen: Memory[str, bool] = Memory(SEEN_S, size, clock)
        self._calls: SharedCalls[str, Caller | None] = SharedCalls(ON_THEIR_WAY)

    def knows(self, token: str, user_id: str | None = None) -> bool:
        """Whether it was found to be good within the last hour."""
        return self._seen.get(_digest(token, user_id)) is not None

    async def verify(self, token: str, user_id: str | None = None) -> Caller:
        """Raises Unauthorized, BackendUnavailable.

        Args:
            user_id: who is said to send the token, where a request says so: the backend is asked
                whether that is so.
        """
        if not TOKEN.fullmatch(token):
            raise _not_valid()
        digest = _digest(token, user_id)
        if (known := self._good.get(digest)) is not None:
            self._backend.remembered()
            return known
        if self._bad.get(digest):
            self._backend.remembered()
            raise _not_valid()
        sent = Sent(token, user_id)
        asked = self._shape.asked(sent)
        if asked is None:
            raise _not_valid()
        try:
            caller = await self._calls.get(digest, lambda: self._ask(asked, sent, digest))
        except TooManyCalls:
            # An answer is due: nobody is let in by asking often.
            raise _unavailable(BUSY_RETRY_S) from None
        except NoAnswer as error:
            return self._without_answer(token, error.retry_after_s)
        if caller is None:
            raise _not_valid()
        return caller

    async def close(self) -> None:
        await self._calls.close()
        await self._backend.close()

    async def _ask(self, asked: Asked, sent: Sent, digest: str) -> Caller | None:
        caller = await self._backend.ask(
            asked, lambda answer: self._shape.read(answer, sent, self._granted)
        )
        if caller is None:
            self._bad.put(digest, True)
        else:
            self._good.put(digest, caller)
            self._seen.put(digest, True)
        return caller

    def _without_answer(self, token: str, retry_after_s: float) -> Caller:
        if self._fail == "closed":
            raise _unavailable(retry_after_s)
        return Caller(PREFIX + unnamed(token), DEFAULT_SCOPES)


def _digest(token: str, user_id: str | None) -> str:
    """Of what an answer is about: both."""
    return digest_of(token if user_id is None else f"{token} {user_id}")


def _not_valid() -> Unauthorized:
    return Unauthorized("the key is not valid")


def _unavailable(retry_after_s: float) -> BackendUnavailable:
    return BackendUnavailable(
        "whether the key is valid could not be found out; try again in a few seconds",
        retry_after_s=max(1.0, retry_after_s),
    )
