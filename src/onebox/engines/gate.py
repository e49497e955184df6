"""The gate: which engine of a device may compute now. Handed over between steps.

Two engines that compute on the CPU at the same time fight over its cores and both lose far more
than half, so each step is taken alone. A waiter of better or equal rank gets the next step.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator


class Gate:
    """One holder at a time; waiters go by rank (0 first), then by arrival.

    Used by engine threads only, but for `urge`. A rank is given as a function that
    is asked when its thread takes its place: whoever makes it better after that calls `urge`, and
    no moment is left in which that is missed.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._order = itertools.count()
        self._waiting: dict[threading.Thread, tuple[int, int]] = {}
        self._held = False

    @contextlib.contextmanager
    def turn(self, rank: Callable[[], int]) -> Iterator[None]:
        """Hold the gate for the body, except while handed over by `hand_over`."""
        self._acquire(rank)
        try:
            yield
        finally:
            self._release()

    def hand_over(self, rank: Callable[[], int]) -> None:
        """Between two steps: let waiters of better or equal rank go first.

        The caller holds the gate.
        """
        with self._condition:
            own = rank()
            if not any(waiting_rank <= own for waiting_rank, _ in self._waiting.values()):
                return
        self._release()
        self._acquire(rank)

    def urge(self, thread: threading.Thread, rank: int) -> None:
        """More urgent work came to a thread: if it waits here, it waits with that rank from now."""
        with self._condition:
            ticket = self._waiting.get(thread)
            if ticket is not None and rank < ticket[0]:
                self._waiting[thread] = (rank, ticket[1])
                self._condition.notify_all()

    def _acquire(self, rank: Callable[[], int]) -> None:
        thread = threading.current_thread()
        with self._condition:
            self._waiting[thread] = (rank(), next(self._order))
            self._condition.wait_for(
                lambda: not self._held and min(self._waiting.values()) == self._waiting[thread]
            )
            del self._waiting[thread]
            self._held = True

    def _release(self) -> None:
        with self._condition:
            self._held = False
            self._condition.notify_all()
