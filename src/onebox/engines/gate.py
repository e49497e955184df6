"""The gate: which engine of a device may compute now. Handed over between steps.

Two engines that compute on the CPU at the same time fight over its cores and both lose far more
than half, so each step is taken alone. A waiter of better or equal rank gets the next step.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator


class Gate:
    """One holder at a time; waiters go by rank (0 first), then by arrival.

    Used by engine threads only.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._order = itertools.count()
        self._waiting: list[tuple[int, int]] = []
        self._held = False

    @contextlib.contextmanager
    def turn(self, rank: int) -> Iterator[None]:
        """Hold the gate for the body, except while handed over by `hand_over`."""
        self._acquire(rank)
        try:
            yield
        finally:
            self._release()

    def hand_over(self, rank: int) -> None:
        """Between two steps: let waiters of better or equal rank go first.

        The caller holds the gate.
        """
        with self._condition:
            if not any(waiting_rank <= rank for waiting_rank, _ in self._waiting):
                return
        self._release()
        self._acquire(rank)

    def _acquire(self, rank: int) -> None:
        with self._condition:
            ticket = (rank, next(self._order))
            self._waiting.append(ticket)
            self._condition.wait_for(lambda: not self._held and min(self._waiting) == ticket)
            self._waiting.remove(ticket)
            self._held = True

    def _release(self) -> None:
        with self._condition:
            self._held = False
            self._condition.notify_all()
