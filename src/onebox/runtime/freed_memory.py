"""When memory that runs have freed goes back to the system."""

from __future__ import annotations

from collections.abc import Callable

# To take it from the system again costs the next run some of its time.
PATIENCE_S = 30.0


class FreedMemory:
    """It stays for the runs that come next, and goes back once none has come for a while.

    Args:
        give_back: gives it to the device and the system.
        clock: monotonic seconds.
    """

    def __init__(self, give_back: Callable[[], None], clock: Callable[[], float]) -> None:
        self._give_back = give_back
        self._clock = clock
        self._runs: int | None = 0
        self._since: float | None = None

    def look(self, runs: int | None) -> None:
        """Called now and then.

        Args:
            runs: how many there were so far; None while there is one.
        """
        if runs is None or runs != self._runs:
            self._runs, self._since = runs, self._clock()
        elif self._since is not None and self._clock() - self._since >= PATIENCE_S:
            self._since = None
            self._give_back()
