"""Tries that go wrong for a moment, made again: waits of 1, 2, 4 and 8 s, each with jitter."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

from onebox.services.outgoing.client import BadAnswer

if TYPE_CHECKING:
    from tenacity import RetryCallState

T = TypeVar("T")

RETRIES = 4
FIRST_WAIT_S = 1.0
WAIT_GROWTH = 2.0
# Each wait is longer or shorter by up to this share, so that not all come back at once.
JITTER = 0.25
# A server that asks for more than this is not waited for.
MAX_RETRY_AFTER_S = 30.0
TOO_MANY = 429


class BadStatus(BadAnswer):
    """An answer whose status says that it went wrong.

    Attributes:
        retry_after_s: what the answer asks for, if anything.
    """

    def __init__(self, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(f"the answer has the status {status}")
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try again, and for how long.

    Attributes:
        retries: after the first try.
        max_total_s: no wait begins that would end later than this after the first try began; None:
            any. Bound a try itself by time-outs.
        sleep, clock, chance: waits; seconds that only grow; from 0 to 1, evenly.
    """

    retries: int = RETRIES
    first_wait_s: float = FIRST_WAIT_S
    max_retry_after_s: float = MAX_RETRY_AFTER_S
    max_total_s: float | None = None
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random


async def with_retries(
    attempt: Callable[[], Awaitable[T]],
    policy: RetryPolicy,
    *,
    retried: Callable[[Exception], None] = lambda _: None,
) -> T:
    """What the first try gives that goes well. Raises what the last one raised.

    Tried again after `httpx2.TransportError`, TimeoutError, and BadStatus of 429 and of 500 on; not
    after any other error. So for a stream, `attempt` ends with the head of the answer: what goes
    wrong after its first byte is not tried again.

    Args:
        retried: told why, before each wait.
    """
    import tenacity

    began = policy.clock()

    def wait(state: RetryCallState) -> float:
        return _wait_s(state, policy)

    def stop(state: RetryCallState) -> bool:
        """Asked after the wait has been chosen, and before it."""
        if state.attempt_number > policy.retries:
            return True
        wait_s = state.upcoming_sleep
        asked_s = retry_after_of(_error_of(state))
        if asked_s is not None and asked_s > policy.max_retry_after_s:
            return True
        total_s = policy.max_total_s
        return total_s is not None and policy.clock() + wait_s - began > total_s

    def before_sleep(state: RetryCallState) -> None:
        error = _error_of(state)
        if isinstance(error, Exception):
            retried(error)

    async def tried() -> T:
        # Tenacity awaits what it can see to be a coroutine function.
        return await attempt()

    retrying = tenacity.AsyncRetrying(
        sleep=policy.sleep,
        stop=stop,
        wait=wait,
        retry=tenacity.retry_if_exception(may_be_retried),
        before_sleep=before_sleep,
        reraise=True,
    )
    found: T = await retrying(tried)
    return found


def may_be_retried(error: BaseException) -> bool:
    """Whether the same request may go well a moment later."""
    import httpx2

    if isinstance(error, BadStatus):
        return error.status == TOO_MANY or error.status >= 500
    # A request that cannot be sent cannot be sent later either.
    never = (httpx2.UnsupportedProtocol, httpx2.LocalProtocolError)
    return isinstance(error, httpx2.TransportError | TimeoutError) and not isinstance(error, never)


def retry_after_of(error: BaseException | None) -> float | None:
    """Seconds that the answer asked to wait, if it did."""
    return error.retry_after_s if isinstance(error, BadStatus) else None


def check_status(
    status: int, headers: Mapping[str, str], now: Callable[[], float] = time.time
) -> None:
    """Raises BadStatus for any status but 2xx; redirects are not followed.

    Args:
        headers: by lower-case names, or whatever their case as those of httpx2.
        now: seconds since 1970.
    """
    if not 200 <= status < 300:
        raise BadStatus(status, parse_retry_after(headers.get("retry-after"), now))


def parse_retry_after(value: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Seconds, of a header in seconds or as a date; None for one that cannot be read."""
    if value is None:
        return None
    if value.isascii() and value.isdigit():
        # More digits than any sensible number has.
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now())


def _wait_s(state: RetryCallState, policy: RetryPolicy) -> float:
    wait_s = policy.first_wait_s * WAIT_GROWTH ** (state.attempt_number - 1)
    wait_s *= 1 + JITTER * (2 * policy.chance() - 1)
    return max(wait_s, retry_after_of(_error_of(state)) or 0.0)


def _error_of(state: RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
