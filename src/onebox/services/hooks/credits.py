"""`CreditCheck`: whether the operator's backend lets a caller have one more request."""

from __future__ import annotations

import time
from collections.abc import Callable

from onebox.core.errors import BackendUnavailable, InsufficientCredits
from onebox.core.settings_hooks import Fail
from onebox.services.access.caller import Caller
from onebox.services.hooks.answers import Credit
from onebox.services.hooks.backend import Asked, Backend, NoAnswer
from onebox.services.hooks.shapes import CreditShape, OwnCredits, Wanted, named_by_backend
from onebox.services.hooks.shared_calls import (
    BUSY_RETRY_S,
    ON_THEIR_WAY,
    REMEMBERED,
    Memory,
    SharedCalls,
    TooManyCalls,
)


class CreditCheck:
    """Lives on the gateway's event loop.

    Args:
        shape: how the backend is asked; as docs/hooks.md has it by default.
        fail: what happens to a request when the backend gives no answer.
        seconds: how long an answer holds, be it yes or no.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        shape: CreditShape | None = None,
        fail: Fail = "closed",
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._shape = shape or OwnCredits()
        self._fail = fail
        self._known: Memory[Wanted, Credit] = Memory(seconds, REMEMBERED, clock)
        self._calls: SharedCalls[Wanted, Credit] = SharedCalls(ON_THEIR_WAY)

    async def check(self, caller: Caller, task: str, model: str, request_id: str | None) -> None:
        """Raises InsufficientCredits, BackendUnavailable.

        Args:
            request_id: of the request that asks first.
        """
        user_id = caller.user_id or named_by_backend(caller.id)
        wanted = Wanted(caller.id, task, model, user_id)
        asked = self._shape.asked(wanted, request_id)
        if asked is None:
            return
        credit = self._known.get(wanted)
        if credit is not None:
            self._backend.remembered()
        else:
            credit = await self._asked(wanted, asked)
        if not credit.allowed:
            raise _insufficient(credit)

    async def close(self) -> None:
        await self._calls.close()
        await self._backend.close()

    async def _asked(self, wanted: Wanted, asked: Asked) -> Credit:
        try:
            return await self._calls.get(wanted, lambda: self._ask(wanted, asked))
        except TooManyCalls:
            return self._without_answer(BUSY_RETRY_S)
        except NoAnswer as error:
            return self._without_answer(error.retry_after_s)

    async def _ask(self, wanted: Wanted, asked: Asked) -> Credit:
        credit = await self._backend.ask(asked, self._shape.read) or Credit(False)
        self._known.put(wanted, credit)
        return credit

    def _without_answer(self, retry_after_s: float) -> Credit:
        if self._fail == "open":
            return Credit(True)
        raise BackendUnavailable(
            "whether the caller has credits could not be found out; try again in a few seconds",
            retry_after_s=max(1.0, retry_after_s),
        )


def _insufficient(credit: Credit) -> InsufficientCredits:
    if credit.balance is None:
        return InsufficientCredits("the credits do not suffice for this request; add some")
    return InsufficientCredits(
        f"the credits do not suffice for this request: {credit.balance:g} are left; add some",
        details={"balance": credit.balance},
    )
