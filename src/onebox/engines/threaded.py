"""`ThreadedEngine`: the queue and the thread that every engine has, and how requests leave them."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence

import structlog

from onebox.core.errors import AppError, Cancelled, InferenceFailed
from onebox.core.logs import logged_for
from onebox.engines.attempt import still_wanted
from onebox.engines.fair_queue import RANKS, FairQueue
from onebox.engines.gate import Gate
from onebox.engines.work import Memory, Work

log = structlog.get_logger(__name__)


class ThreadedEngine(ABC):
    """Takes the requests of one bundle and serves them on a thread of its own."""

    def __init__(self, name: str, memory: Memory, gate: Gate) -> None:
        self._name = name
        self._memory = memory
        self._gate = gate
        self._queue: FairQueue[Work] = FairQueue()
        self._changed = threading.Condition()
        self._arrivals = 0
        self._closed: AppError | None = None
        self._running = False
        self._thread = threading.Thread(target=self._loop, name=f"engine:{name}", daemon=True)

    def submit(self, work: Work) -> None:
        with self._changed:
            closed = self._closed
            if closed is None:
                self._queue.put(work, caller=work.caller, priority=work.priority)
                self._arrivals += 1
                self._arrived()
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

    @abstractmethod
    def _serve_next(self) -> None:
        """Take what is next from the queue and serve it. Something waits, or did a moment ago."""

    def _arrived(self) -> None:
        """A request came in. Called under the engine's lock."""
        return

    def _loop(self) -> None:
        while self._wait_for_work():
            self._serve_next()
            with self._changed:
                self._running = False

    def _wait_for_work(self) -> bool:
        """True once something waits; False when the engine was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed is not None or len(self._queue) > 0)
            return self._closed is None

    def _take(self, chosen: Iterable[Work]) -> list[Work]:
        """Out of the queue, those that are still there: they run from now on."""
        with self._changed:
            self._running = True
            return self._queue.take(chosen)

    @contextlib.contextmanager
    def _answering(self, works: Sequence[Work]) -> Iterator[None]:
        """A bug in the body fails these works, or all that wait if there are none; it is not
        raised, for the thread must live on.
        """
        with logged_for(works):
            try:
                yield
            except BaseException:
                log.exception("engine_failed", engine=self._name)
                self._broke_off(works)

    def _broke_off(self, works: Sequence[Work]) -> None:
        bug = InferenceFailed("the engine failed on this request; the server's log says why")
        self._fail(works or self._removed(lambda _: True), bug)

    def _wanted(self) -> list[Work]:
        """What waits, in order. What must not start any more is answered."""
        stopped = self._removed(lambda work: work.token.stopped() is not None)
        still_wanted(stopped)
        with self._changed:
            return list(self._queue)

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
                with logged_for([work]):
                    log.exception("answer_failed")
