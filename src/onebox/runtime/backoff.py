"""How long a worker that keeps dying rests before it is started again. Pure arithmetic."""

from __future__ import annotations

FIRST_S = 0.5
LAST_S = 30.0
HEALTHY_AFTER_S = 60.0
HOPELESS_AFTER = 3


class Backoff:
    """Doubles with each failure, and starts anew after a long time without one.

    Attributes:
        failures: how many there were in a row.
    """

    def __init__(self) -> None:
        self.failures = 0
        self._last: float | None = None
        self._rest_s = 0.0

    @property
    def hopeless(self) -> bool:
        """Whether there were so many that nobody should be kept waiting for the next try."""
        return self.failures >= HOPELESS_AFTER

    def next_s(self, now: float) -> float:
        """Seconds to wait after a failure at `now`, in seconds of any steady clock."""
        if self._last is not None and now - self._last > HEALTHY_AFTER_S + self._rest_s:
            self.failures = 0
        self._last = now
        self.failures += 1
        self._rest_s = FIRST_S if self.failures == 1 else min(LAST_S, 2 * self._rest_s)
        return self._rest_s
