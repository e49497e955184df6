"""`QueueEngine`: the queue, the thread and the order that engines of batches share.

Step 7 of a request's path. What runs together is the choice of a `Gathering`.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import structlog

from onebox.core.contracts import Bundle
from onebox.core.errors import AppError, Cancelled, InferenceFailed, ModelTooLarge
from onebox.engines.attempt import Attempt, halves, still_wanted
from onebox.engines.fair_queue import RANKS, FairQueue
from onebox.engines.gate import Gate
from onebox.engines.work import LoadFailed, Memory, Runner, Work

log = structlog.get_logger(__name__)


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


class QueueEngine:
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
        self._name = name
        self._memory = memory
        self._run = run
        self._gate = gate
        self._gathering = gathering
        self._clock = clock
        self._queue: FairQueue[Work] = FairQueue()
        self._changed = threading.Condition()
        self._arrivals = 0
        self._closed: AppError | None = None
        self._running = False
        self._thread = threading.Thread(target=self._loop, name=f"engine:{name}", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        with self._changed:
            closed = self._closed
            if closed is None:
                self._queue.put(work, caller=work.caller, priority=work.priority)
                self._arrivals += 1
                self._gathering.arrived()
                self._changed.notify()
        if closed is not None:
            work.fail(closed)
        else:
            self._gate.urge(self._thread, RANKS[work.priority])

    def cancel(self, request_id: str) -> None:
        for work in self._removed(lambda work: work.id == request_id):
            reason = work.token.stopped()
            work.fail(reason or Cancelled("the request was cancelled while it waited"))

    def waiting(self) -> int:
        with self._changed:
            return len(self._queue)

    def busy(self) -> bool:
        with self._changed:
            return self._running or len(self._queue) > 0

    def close(self, reason: AppError) -> None:
        with self._changed:
            self._closed = reason
            removed = self._queue.remove(lambda _: True)
            self._changed.notify()
        self._fail(removed, reason)

    def join(self, timeout_s: float | None) -> None:
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        while self._wait_for_work():
            works: list[Work] = []
            with self._answering(works):
                chosen = self._gather()
                with self._changed:
                    self._running = True
                    works += self._queue.take(chosen)
                self._serve(works)
            with self._changed:
                self._running = False

    def _wait_for_work(self) -> bool:
        """True once something waits; False when the engine was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed is not None or len(self._queue) > 0)
            return self._closed is None

    @contextlib.contextmanager
    def _answering(self, works: Sequence[Work]) -> Iterator[None]:
        """A bug in the body fails these works, or all that wait if there are none; it is not
        raised, for the thread must live on.
        """
        try:
            yield
        except BaseException:
            log.exception("engine_failed", engine=self._name)
            bug = InferenceFailed("the engine failed on this request; the server's log says why")
            self._fail(works or self._removed(lambda _: True), bug)

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

    def _wanted(self) -> list[Work]:
        """What waits, in order. What must not start any more is answered."""
        stopped = self._removed(lambda work: work.token.stopped() is not None)
        still_wanted(stopped)
        with self._changed:
            return list(self._queue)

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
                with self._changed:
                    works += self._queue.take(chosen)
                if works:
                    self._attempt(works, bundle, RANKS[works[0].priority])
        return True

    def _urgency(self, rank: int) -> int:
        """The rank of a batch, or of what waits behind it if that is better.

        The batch at hand takes its steps for those who wait for it to end.
        """
        with self._changed:
            return min(rank, self._queue.best_rank())

    def _removed(self, wanted: Callable[[Work], bool]) -> list[Work]:
        with self._changed:
            return self._queue.remove(wanted)

    def _fail(self, works: Iterable[Work], error: AppError) -> None:
        """Answer all of them, also if one of them cannot be told."""
        for work in works:
            try:
                work.fail(error)
            except Exception:
                log.exception("answer_failed", request_id=work.id)
