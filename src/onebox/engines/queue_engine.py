"""`QueueEngine`: the order that engines of batches share.

Step 7 of a request's path. What runs together is the choice of a `Gathering`.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from onebox.core.contracts import Bundle
from onebox.core.errors import AppError, ModelTooLarge
from onebox.engines.attempt import Attempt, halves, still_wanted
from onebox.engines.fair_queue import RANKS
from onebox.engines.gate import Gate
from onebox.engines.threaded import ThreadedEngine
from onebox.engines.work import LoadFailed, Memory, Runner, Work


class Gathering(Protocol):
    """Which waiting works run as one. Called on the engine thread, but for `arrived`."""

    def arrived(self) -> None:
        """A request came in. Called under the engine's lock."""

    def choose(self, waiting: Sequence[Work]) -> list[Work]:
        """The next batch: the first of those that wait, and those of its priority that join it."""

    def hold_s(self, batch: Sequence[Work]) -> float:
        """How long this batch may wait for more in all; 0: it goes at once."""

    def ran(self, works: int, run_s: float) -> None:
        """A batch of so many works has ended just now."""


class QueueEngine(ThreadedEngine):
    """Runs the requests of one bundle, batch after batch, on a thread of its own.

    Between the steps of a batch its thread lets other engines go first, and runs works of its own
    queue that are more urgent, nested, if there is room for them.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        run: Runner,
        gate: Gate,
        gathering: Gathering,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name, memory, gate)
        self._run = run
        self._gathering = gathering
        self._clock = clock
        self._thread.start()

    def _arrived(self) -> None:
        self._gathering.arrived()

    def _serve_next(self) -> None:
        works: list[Work] = []
        with self._answering(works):
            works += self._take(self._gather())
            self._serve(works)

    def _gather(self) -> list[Work]:
        """The next batch, still in the queue: at once, when it is full, or when its time is up."""
        opened = self._clock()
        while True:
            with self._changed:
                arrivals = self._arrivals
            waiting = self._wanted()
            chosen = self._gathering.choose(waiting) if waiting else []
            if len(chosen) < len(waiting) or not chosen:
                return chosen  # nobody who could go now waits for those who may come
            left_s = self._gathering.hold_s(chosen) - (self._clock() - opened)
            if left_s <= 0 or not self._arrives(arrivals, left_s):
                return chosen

    def _arrives(self, arrivals: int, timeout_s: float) -> bool:
        """Wait for an arrival after so many, or the end. False: there was none."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed is not None or self._arrivals != arrivals, timeout_s
            )

    def _serve(self, works: Sequence[Work]) -> None:
        """Run one batch, from lease to answers."""
        works = still_wanted(works)
        if not works:
            return
        rank = RANKS[works[0].priority]
        with contextlib.ExitStack() as held:
            try:
                bundle = held.enter_context(self._memory.lease(works))
            except LoadFailed as failure:
                self._fail([*works, *self._removed(lambda _: True)], failure.error)
                return
            except AppError as error:
                self._refused(works, error)
                return
            held.enter_context(self._gate.turn(lambda: self._urgency(rank)))
            self._urgent_first(rank)
            self._attempt(works, bundle, rank)

    def _refused(self, works: Sequence[Work], error: AppError) -> None:
        """No lease: was it for those who left, or for being too many? Then the others may go on."""
        left = still_wanted(works)
        if len(left) < len(works):
            self._serve(left)
        elif isinstance(error, ModelTooLarge) and len(left) > 1:
            for part in halves(left):
                self._serve(part)
        else:
            self._fail(left, error)

    def _attempt(self, works: Sequence[Work], bundle: Bundle, rank: int) -> None:
        started = self._clock()
        between_steps = functools.partial(self._between_steps, rank)
        Attempt(self._run, self._memory.recover, bundle, between_steps).run(works)
        self._gathering.ran(len(works), self._clock() - started)

    def _between_steps(self, rank: int, lean: bool) -> None:
        self._gate.hand_over(lambda: self._urgency(rank))
        if not lean:
            self._urgent_first(rank)

    def _urgent_first(self, rank: int) -> None:
        """Run all that waits and is more urgent than the batch at hand, while there is room."""
        while self._run_nested(rank):
            self._gate.hand_over(lambda: self._urgency(rank))

    def _run_nested(self, rank: int) -> bool:
        """Run the next batch if it is more urgent and has room now. False: there was none."""
        if self._urgency(rank) == rank:
            return False
        works: list[Work] = []
        with self._answering(works):
            urgent = [work for work in self._wanted() if RANKS[work.priority] < rank]
            chosen = self._gathering.choose(urgent) if urgent else []
            # They stay in the queue until there is room, where a cancel or a close finds them.
            lease = self._memory.lease_now(chosen) if chosen else None
            if lease is None:
                return False
            with lease as bundle:
                works += self._take(chosen)
                if works:
                    self._attempt(works, bundle, RANKS[works[0].priority])
        return True
