"""Engine `exclusive`: one request at a time, each in one go.

For work that fills the device alone.
"""

from __future__ import annotations

import threading

import structlog

from onebox.core.errors import AppError, Cancelled, InferenceFailed
from onebox.engines.fair_queue import RANKS, FairQueue
from onebox.engines.gate import Gate
from onebox.engines.work import LeaseFactory, LoadFailed, Work

log = structlog.get_logger(__name__)


class ExclusiveEngine:
    """Runs the requests of one bundle one after another, on a thread of its own."""

    def __init__(self, name: str, lease: LeaseFactory, gate: Gate) -> None:
        self._lease = lease
        self._gate = gate
        self._queue: FairQueue[Work] = FairQueue()
        self._changed = threading.Condition()
        self._closed: AppError | None = None
        self._running: Work | None = None
        self._thread = threading.Thread(target=self._loop, name=f"engine:{name}", daemon=True)
        self._thread.start()

    def submit(self, work: Work) -> None:
        with self._changed:
            closed = self._closed
            if closed is None:
                self._queue.put(work, caller=work.caller, priority=work.priority)
                self._changed.notify()
        if closed is not None:
            work.fail(closed)

    def cancel(self, request_id: str) -> None:
        with self._changed:
            removed = self._queue.remove(lambda work: work.id == request_id)
        for work in removed:
            work.fail(Cancelled("the request was cancelled while it waited"))

    def waiting(self) -> int:
        with self._changed:
            return len(self._queue)

    def busy(self) -> bool:
        with self._changed:
            return self._running is not None or len(self._queue) > 0

    def close(self, reason: AppError) -> None:
        with self._changed:
            self._closed = reason
            self._changed.notify()
        self._fail_waiting(reason)

    def join(self, timeout_s: float | None) -> None:
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        while (work := self._next()) is not None:
            try:
                self._run(work)
            finally:
                with self._changed:
                    self._running = None

    def _next(self) -> Work | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed is not None or len(self._queue) > 0)
            self._running = self._queue.pop()
            return self._running

    def _run(self, work: Work) -> None:
        """Run one request. Whatever happens, it is answered and the thread lives on."""
        rank = RANKS[work.priority]
        try:
            work.token.check()
            with self._lease(work) as bundle, self._gate.turn(rank):
                work.run(bundle, lambda: self._gate.hand_over(rank))
        except LoadFailed as failure:
            work.fail(failure.error)
            self._fail_waiting(failure.error)
        except AppError as error:
            work.fail(error)
        except BaseException:
            log.exception("request_failed", request_id=work.id)
            work.fail(
                InferenceFailed("the model failed on this request; the server's log says why")
            )

    def _fail_waiting(self, error: AppError) -> None:
        with self._changed:
            removed = self._queue.remove(lambda _: True)
        for work in removed:
            work.fail(error)
