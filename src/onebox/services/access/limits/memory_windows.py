"""Where requests are counted by default: in this process."""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable

from limits.aio.storage import MemoryStorage

# Keys, and networks of addresses, that are counted at a time. Full of windows of a few requests,
# that is some 30 MB.
MAX_WINDOWS = 100_000


class BoundedMemory(MemoryStorage):
    """The library's storage in memory, with windows that are bounded and swept at little cost.

    The library's own looks through all keys after each hit, with a hop to a thread for each of
    them (100 hits a second among 1,000 addresses take 60% of a core; here 2%), keeps as many as
    come, and reads the machine's clock. Only what the moving window and the sliding counter ask for
    is here.

    Args:
        now: seconds that only grow.
    """

    def __init__(self, now: Callable[[], float], max_windows: int = MAX_WINDOWS) -> None:
        super().__init__()
        self._now = now
        self._max_windows = max_windows
        # By key, the longest unused first: the times of what was let in, rising.
        self._moving: OrderedDict[str, list[float]] = OrderedDict()
        # The same: the number of the newest period, and what was counted in it and before it.
        self._sliding: OrderedDict[str, tuple[int, int, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._moving) + len(self._sliding)

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        now = self._now()
        times = self._moving.get(key, [])
        gone = bisect_right(times, now - expiry)
        if len(times) - gone + amount > limit:
            return False
        times[:gone] = ()
        times += [now] * amount
        self._moving[key] = times
        self._moving.move_to_end(key)
        while len(self._moving) > self._max_windows:
            self._moving.popitem(last=False)
        # A few at each turn: a window that nobody asks for any more goes too.
        for _ in range(2):
            oldest = next(iter(self._moving))
            if self._moving[oldest][-1] > now - expiry:
                break
            del self._moving[oldest]
        return True

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        now = self._now()
        times = self._moving.get(key, [])
        if times:
            # Who is refused goes on being counted, also in a flood of others.
            self._moving.move_to_end(key)
        first = bisect_right(times, now - expiry)
        return (times[first], len(times) - first) if first < len(times) else (now, 0)

    async def acquire_sliding_window_entry(
        self, key: str, limit: int, expiry: int, amount: int = 1
    ) -> bool:
        now = self._now()
        period, before, current = self._counts(key, expiry, now)
        left = 1 - now / expiry % 1
        if int(before * left) + current + amount > limit:
            return False
        self._sliding[key] = (period, before, current + amount)
        self._sliding.move_to_end(key)
        while len(self._sliding) > self._max_windows:
            self._sliding.popitem(last=False)
        for _ in range(2):
            oldest = next(iter(self._sliding))
            if self._sliding[oldest][0] >= period - 1:
                break
            del self._sliding[oldest]
        return True

    async def get_sliding_window(self, key: str, expiry: int) -> tuple[int, float, int, float]:
        now = self._now()
        _, before, current = self._counts(key, expiry, now)
        if before or current:
            self._sliding.move_to_end(key)
        left_s = (1 - now / expiry % 1) * expiry
        return before, left_s if before else 0.0, current, left_s + expiry

    async def clear(self, key: str) -> None:
        self._moving.pop(key, None)

    async def clear_sliding_window(self, key: str, expiry: int) -> None:
        self._sliding.pop(key, None)

    async def reset(self) -> int:
        count = len(self)
        self._moving.clear()
        self._sliding.clear()
        return count

    def _counts(self, key: str, expiry: int, now: float) -> tuple[int, int, int]:
        period = int(now // expiry)
        newest, before, current = self._sliding.get(key, (period, 0, 0))
        if newest == period:
            return period, before, current
        return period, current if newest == period - 1 else 0, 0
