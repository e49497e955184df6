"""Counting with the library `limits`. Imported when there is a limit: it takes 30 ms."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
from typing import TypeAlias

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from onebox.services.access.limits.headers import Kind, Standing
from onebox.services.access.limits.memory_windows import BoundedMemory

Windowed: TypeAlias = BoundedMemory | RedisStorage

WINDOW_S = 60
# More than is ever used in a minute. Below 2**53, up to which Redis' scripts count exactly.
ANY_NUMBER = 2**52


@dataclass(frozen=True, slots=True)
class Count:
    """The windows of one request after it was counted, and which of them had no room for it."""

    requests: Standing | None
    tokens: Standing | None
    over: Kind | None


class Windows:
    """The windows of all clients.

    Requests are counted in a moving window: never more than the limit within any 60 seconds. It
    keeps the time of each, so tokens are counted by the sliding counter instead, two numbers a
    caller: an answer of 4,000 tokens would be 4,000 times in the other (in Redis 80 KB, and 1.5 ms
    instead of 0.1). That counter takes what was used in the last period as spread evenly over it.

    Args:
        now: the clock that the storage counts by, in seconds.
        close: gives back what the storage holds.
    """

    def __init__(
        self, storage: Windowed, now: Callable[[], float], close: Callable[[], Awaitable[None]]
    ) -> None:
        self._storage = storage
        self._requests = MovingWindowRateLimiter(storage)
        self._now = now
        self._close = close

    async def count(
        self, request_key: str, requests: int | None, token_key: str, tokens: int | None
    ) -> Count:
        """Count a request where there is room for one more, and for a token.

        None: there is no such limit.
        """
        left = None if tokens is None else await self._tokens(token_key, tokens)
        over: Kind | None = "tokens" if left is not None and left.remaining <= 0 else None
        if requests is None:
            return Count(None, left, over)
        item = RateLimitItemPerMinute(requests)
        stats = await self._requests.get_window_stats(item, request_key)
        remaining, reset_s = max(0, stats.remaining), max(0.0, stats.reset_time - self._now())
        if over is None:
            # Another server may have counted one since.
            taken = remaining > 0 and await self._requests.hit(item, request_key)
            remaining, over = (remaining - 1, None) if taken else (0, "requests")
        return Count(Standing(requests, remaining, reset_s), left, over)

    async def left(self, key: str, requests: int) -> int:
        """How many requests there is room for. Counts nothing."""
        stats = await self._requests.get_window_stats(RateLimitItemPerMinute(requests), key)
        return stats.remaining

    async def add_tokens(self, key: str, count: int) -> None:
        """Count tokens, also beyond any limit: what was used was used, and is waited for."""
        await self._storage.acquire_sliding_window_entry(key, ANY_NUMBER, WINDOW_S, count)

    async def close(self) -> None:
        await self._close()

    async def _tokens(self, key: str, limit: int) -> Standing:
        counts = await self._storage.get_sliding_window(key, WINDOW_S)
        before, before_left_s, current, current_left_s = counts
        used = ceil(before * before_left_s / WINDOW_S) + current
        wait_s = _until_free(limit, before, before_left_s, current, current_left_s - WINDOW_S)
        return Standing(limit, max(0, limit - used), wait_s)


def memory_windows(now: Callable[[], float]) -> Windows:
    return Windows(BoundedMemory(now), now, _nothing)


def redis_windows(url: str, timeout_s: float) -> Windows:
    """Raises ValueError for a URL that is none of Redis'."""
    from onebox.services.access.limits.redis_windows import open_redis

    storage, close = open_redis(url, timeout_s)
    # By the machine's clock, which is the same for all who count together.
    return Windows(storage, time.time, close)


async def _nothing() -> None:
    return


def _until_free(
    limit: int, before: int, before_left_s: float, current: int, period_left_s: float
) -> float:
    """Seconds until fewer than `limit` tokens count; where fewer do, until none does.

    What was used before the current period fades out with it, and what is used in it in the next.
    """
    used = before * before_left_s / WINDOW_S + current
    wanted = 0 if used < limit else limit - 1
    if current <= wanted and before:
        return max(0.0, before_left_s - (wanted - current) * WINDOW_S / before)
    if not current:
        return 0.0
    return period_left_s + WINDOW_S * max(0.0, 1 - wanted / current)
