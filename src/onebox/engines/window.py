"""How long a batch may wait for more requests: pure arithmetic over what was seen lately."""

from __future__ import annotations

import time
from collections.abc import Callable

SHARE_OF_RUN = 0.1
SMOOTHING = 0.2


class Window:
    """Zero unless requests come faster than they are run and the last batch was of several.

    A lone request starts at once: it finds an engine that was idle, or whose last batch was alone.

    Args:
        max_s: the most a batch waits, however long its run is.
        clock: monotonic seconds.
    """

    def __init__(self, max_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_s = max_s
        self._clock = clock
        self._last_arrival: float | None = None
        self._last_end = 0.0
        self._last_works = 0
        self._gap_s = 0.0
        self._run_s = 0.0

    def arrived(self) -> None:
        """A request came in."""
        now = self._clock()
        if self._last_arrival is not None:
            # A longer gap says no more than "slower than we run", and would be remembered for long.
            gap_s = min(now - self._last_arrival, 2 * self._run_s)
            self._gap_s += SMOOTHING * (gap_s - self._gap_s)
        self._last_arrival = now

    def ran(self, works: int, run_s: float) -> None:
        """A batch of so many works has ended just now."""
        smoothing = SMOOTHING if self._last_works else 1.0
        self._run_s += smoothing * (run_s - self._run_s)
        self._last_works = works
        self._last_end = self._clock()

    def length_s(self, works: int) -> float:
        """How long a batch of so many works may wait in all; 0: no more are to be expected."""
        # After a batch of one that is true of any batch.
        is_back = works >= self._last_works
        is_slow = self._gap_s >= self._run_s
        was_idle = self._clock() - self._last_end > self._run_s
        if is_back or is_slow or was_idle:
            return 0.0
        return min(self._max_s, SHARE_OF_RUN * self._run_s)
