"""Counting with the library `limits`. Imported when there is a limit: it takes 30 ms."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from math import ceil
from typing import NamedTuple, TypeAlias

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from onebox.services.access.limits.headers import Kind, Standing
from onebox.services.access.limits.memory_windows import BoundedMemory

Windowed: TypeAlias = BoundedMemory | RedisStorage

WINDOW_S = 60
# More than is ever used in a minute. Below 2**53, up to which Redis' scripts count exactly.
ANY_NUMBER = 2**52


class Tokens(NamedTuple):
    """What was used in the period before and in this one, and seconds until neither counts."""

    before: int = 0
    before_left_s: float = 0.0
    current: int = 0
    current_left_s: float = 0.0

    @property
    def used(self) -> int:
        return ceil(self.before * self.before_left_s / WINDOW_S) + self.current


@dataclass(frozen=True, slots=True)
class Seen:
    """The windows of a request before it was counted.

    Attributes:
        over: which of them had no room for it; None: it was counted.
        oldest: when the oldest of the `requests` that count was, on the clock of the storage.
    """

    over: Kind | None
    oldest: float
    requests: int
    tokens: Tokens


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
        item = None if requests is None else RateLimitItemPerMinute(requests)
        seen = await self.look(item, request_key, token_key, tokens)
        left = None if tokens is None else _standing(seen.tokens, tokens)
        if requests is None:
            return Count(None, left, seen.over)
        if seen.over == "requests":
            # Another server may have counted one since.
            remaining = 0
        else:
            remaining = max(0, requests - seen.requests - (seen.over is None))
        reset_s = max(0.0, seen.oldest + WINDOW_S - self._now())
        return Count(Standing(requests, remaining, reset_s), left, seen.over)

    async def look(
        self, item: RateLimitItem | None, request_key: str, token_key: str, tokens: int | None
    ) -> Seen:
        """How the windows stood before the request, which is counted where there is room."""
        counts = Tokens()
        if tokens is not None:
            counts = Tokens(*await self._storage.get_sliding_window(token_key, WINDOW_S))
        over: Kind | None = "tokens" if tokens is not None and counts.used >= tokens else None
        if item is None:
            return Seen(over, self._now(), 0, counts)
        stats = await self._requests.get_window_stats(item, request_key)
        if over is None and not await self._requests.hit(item, request_key):
            over = "requests"
        return Seen(over, stats.reset_time - WINDOW_S, item.amount - stats.remaining, counts)

    async def left(self, key: str, requests: int) -> int:
        """How many requests there is room for. Counts nothing."""
        stats = await self._requests.get_window_stats(RateLimitItemPerMinute(requests), key)
        return stats.remaining

    async def add_tokens(self, key: str, count: int) -> None:
        """Count tokens, also beyond any limit: what was used was used, and is waited for."""
        await self._storage.acquire_sliding_window_entry(key, ANY_NUMBER, WINDOW_S, count)

    async def close(self) -> None:
        await self._close()


def memory_windows(now: Callable[[], float]) -> Windows:
    return Windows(BoundedMemory(now), now, _nothing)


def redis_windows(url: str, timeout_s: float) -> Windows:
    """Raises ValueError for a URL that is none of Redis'."""
    from onebox.services.access.limits.redis_windows import RedisWindows

    return RedisWindows(url, timeout_s)


async def _nothing() -> None:
    return


def _standing(counts: Tokens, limit: int) -> Standing:
    return Standing(limit, max(0, limit - counts.used), _until_free(limit, counts))


def _until_free(limit: int, counts: Tokens) -> float:
    """Seconds until fewer than `limit` tokens count; where fewer do, until none does.

    What was used before the current period fades out with it, and what is used in it in the next.
    """
    before, before_left_s, current, current_left_s = counts
    used = before * before_left_s / WINDOW_S + current
    wanted = 0 if used < limit else limit - 1
    if current <= wanted and before:
        return max(0.0, before_left_s - (wanted - current) * WINDOW_S / before)
    if not current:
        return 0.0
    return current_left_s - WINDOW_S + WINDOW_S * max(0.0, 1 - wanted / current)
