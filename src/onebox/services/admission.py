"""The one place that bounds the queues, and tells a refused client when to come back (step 4)."""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Literal

from onebox.core.errors import ConcurrencyLimited, QueueFull, ShuttingDown

MIN_RETRY_S = 1.0
MAX_RETRY_S = 120.0
# About what a worker, or the next server, takes to start.
LOBBY_RETRY_S = 5.0
# Clients that were refused together must not come back together.
JITTER = 0.25
# Each end weighs this much less than the next one: about the last 32 count.
KEEP = 1 - 1 / 32


class Admission:
    """Counts every request from its entry to its end. Lives on the gateway's event loop.

    A request waits until it has the device, and is held until it ends.

    Args:
        max_waiting: requests that may wait for one worker.
        max_waiting_per_model: requests that may wait for one checkpoint, over all workers.
        max_per_caller: requests of one caller that may wait or run; None for any number.
        jitter: a number between 0 and 1, a new one at each call.
    """

    def __init__(
        self,
        *,
        max_waiting: int,
        max_waiting_per_model: int,
        max_per_caller: int | None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._max_waiting = max_waiting
        self._max_waiting_per_model = max_waiting_per_model
        self._max_per_caller = max_per_caller
        self._clock = clock
        self._jitter = jitter
        self._workers: defaultdict[int, _Pace] = defaultdict(_Pace)
        self._models: defaultdict[str, _Pace] = defaultdict(_Pace)
        self._callers: defaultdict[str, _Pace] = defaultdict(_Pace)
        self._in_lobby = 0
        self._closed_for_new = False
        self._waiting: defaultdict[tuple[int, str], int] = defaultdict(int)

    def enter(
        self, worker: int, key: str, model_name: str, caller: str, most: int | None = None
    ) -> Ticket:
        """Admit a request for a checkpoint on a worker; its ticket must be closed.

        `most` is how many of its caller may wait or run, where that is not as for all others.

        Raises ConcurrencyLimited, QueueFull, ShuttingDown; all with `retry_after_s`.
        """
        self._check_open()
        self._check_caller(caller, self._max_per_caller if most is None else most)
        self._check_queues(worker, key, model_name)
        self._callers[caller].entered(self._clock())
        ticket = Ticket(self, caller)
        ticket.go_to(worker, key)
        return ticket

    @contextlib.contextmanager
    def lobby(self) -> Iterator[None]:
        """For a request that waits in the body for a worker. Raises QueueFull, ShuttingDown."""
        self._check_open()
        if self._in_lobby >= self._max_waiting:
            raise QueueFull(
                f"{self._in_lobby} requests wait for a worker to start, at most "
                f"{self._max_waiting} may; try again later",
                details={"waiting": self._in_lobby, "max": self._max_waiting, "queue": "lobby"},
                retry_after_s=self._polite(LOBBY_RETRY_S),
            )
        self._in_lobby += 1
        try:
            yield
        finally:
            self._in_lobby -= 1

    def close(self) -> None:
        """Admit no more. What was admitted goes on, with all its parts."""
        self._closed_for_new = True

    def waiting(self, worker: int | None = None, key: str | None = None) -> int:
        """How many wait: in all, for a worker, for a checkpoint, or for a checkpoint there."""
        if worker is None and key is None:
            return sum(pace.waiting for pace in self._workers.values())
        if worker is None:
            pace = self._models.get(key or "")
        elif key is None:
            pace = self._workers.get(worker)
        else:
            return self._waiting.get((worker, key), 0)
        return pace.waiting if pace else 0

    def retry_after_s(self, worker: int, key: str) -> float:
        """Until what waits for the worker and for the checkpoint has drained, as measured."""
        now = self._clock()
        paces = (self._workers.get(worker), self._models.get(key))
        return self._polite(max(pace.drain_s(now) if pace else 0.0 for pace in paces))

    def _check_open(self) -> None:
        if self._closed_for_new:
            message = f"the server is shutting down; try again in {LOBBY_RETRY_S:g} s"
            raise ShuttingDown(message, retry_after_s=self._polite(LOBBY_RETRY_S))

    def _check_caller(self, caller: str, limit: int | None) -> None:
        pace = self._callers.get(caller)
        if pace is None or limit is None or pace.held < limit:
            return
        retry_after_s = self._polite(pace.next_end_s(self._clock()))
        raise ConcurrencyLimited(
            f"you have {pace.held} requests that wait or run, at most {limit} are allowed; "
            f"let one end first, try again in {math.ceil(retry_after_s)} s",
            details={"requests": pace.held, "max": limit},
            retry_after_s=retry_after_s,
        )

    def _check_queues(self, worker: int, key: str, model_name: str) -> None:
        for_model, for_worker = self.waiting(key=key), self.waiting(worker)
        if for_model >= self._max_waiting_per_model:
            waiting, limit, queue = for_model, self._max_waiting_per_model, f"model {model_name}"
        elif for_worker >= self._max_waiting:
            place = f"worker {worker}" if worker >= 0 else "its server"
            waiting, limit, queue = for_worker, self._max_waiting, place
        else:
            return
        retry_after_s = self.retry_after_s(worker, key)
        raise QueueFull(
            f"{waiting} requests wait for {queue}, at most {limit} may; "
            f"try again in {math.ceil(retry_after_s)} s",
            details={"waiting": waiting, "max": limit, "queue": queue},
            retry_after_s=retry_after_s,
        )

    def _polite(self, seconds: float) -> float:
        bounded = min(max(seconds, MIN_RETRY_S), MAX_RETRY_S)
        return bounded * (1 + JITTER * self._jitter())

    def _queued(self, ticket: Ticket) -> None:
        now = self._clock()
        for pace in self._paces(ticket):
            pace.entered(now)
        self._waiting[ticket.worker, ticket.key] += 1

    def _started(self, ticket: Ticket, *, first: bool) -> None:
        for pace in self._paces(ticket):
            pace.running += 1
        self._callers[ticket.caller].running += first
        self._stop_waiting(ticket)

    def _left(self, ticket: Ticket, *, was_running: bool, ok: bool) -> None:
        now = self._clock()
        for pace in self._paces(ticket):
            pace.ended(now, was_running=was_running, ok=ok)
        if not was_running:
            self._stop_waiting(ticket)

    def _closed(self, ticket: Ticket, *, was_running: bool, ok: bool) -> None:
        pace = self._callers[ticket.caller]
        pace.ended(self._clock(), was_running=was_running, ok=ok)
        # There may be any number of callers over time; workers and checkpoints are few.
        if not pace.held:
            del self._callers[ticket.caller]

    def _paces(self, ticket: Ticket) -> tuple[_Pace, _Pace]:
        return self._workers[ticket.worker], self._models[ticket.key]

    def _stop_waiting(self, ticket: Ticket) -> None:
        place = ticket.worker, ticket.key
        self._waiting[place] -= 1
        if not self._waiting[place]:
            del self._waiting[place]


class Ticket:
    """One admitted request. As a `with` block: closed at its end, ok unless it raised.

    A request of several parts goes from queue to queue with it, and keeps its caller's place.
    """

    __slots__ = ("_admission", "_ran", "_state", "caller", "key", "worker")

    def __init__(self, admission: Admission, caller: str) -> None:
        self.worker = 0
        self.key = ""
        self.caller = caller
        self._admission = admission
        self._ran = False
        self._state: Literal["between", "waiting", "running", "closed"] = "between"

    def go_to(self, worker: int, key: str) -> None:
        """Wait for a checkpoint on a worker. What was admitted before is not refused now."""
        self.worker, self.key, self._state = worker, key, "waiting"
        self._admission._queued(self)

    def started(self) -> None:
        """It has the device and waits no longer. Only the first call counts."""
        if self._state == "waiting":
            self._state = "running"
            self._admission._started(self, first=not self._ran)
            self._ran = True

    def leave(self, ok: bool) -> None:
        """This part of it is over; `ok` when it ran to its end. Only the first call counts."""
        if self._state in ("waiting", "running"):
            was_running = self._state == "running"
            self._state = "between"
            self._admission._left(self, was_running=was_running, ok=ok)

    def close(self, ok: bool) -> None:
        """It is over; `ok` when it ran to its end. Only the first call counts."""
        self.leave(ok)
        if self._state != "closed":
            self._state = "closed"
            self._admission._closed(self, was_running=self._ran, ok=ok)

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        error_class: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(ok=error is None)


class _Pace:
    """How fast the requests of one worker, checkpoint or caller end while there are any.

    `since` is when the last one ended or the first one came; what was cut short is not measured.
    """

    __slots__ = ("_busy_s", "_ends", "_since", "held", "running")

    def __init__(self) -> None:
        self.held = 0
        self.running = 0
        self._since = 0.0
        # Sums that fade: their ratio is the mean time from one end to the next.
        self._ends = 0.0
        self._busy_s = 0.0

    @property
    def waiting(self) -> int:
        return self.held - self.running

    def entered(self, now: float) -> None:
        if not self.held:
            self._since = now
        self.held += 1

    def ended(self, now: float, *, was_running: bool, ok: bool) -> None:
        self.held -= 1
        self.running -= was_running
        if ok:
            self._ends = self._ends * KEEP + 1
            self._busy_s = self._busy_s * KEEP + now - self._since
            self._since = now
        elif was_running and not self.running:
            self._since = now

    def drain_s(self, now: float) -> float:
        """Until all that wait have started, or what runs has ended.

        Before any end was measured: as long again as none has come, a lower bound.
        """
        if not self.held:
            return 0.0
        silence_s = now - self._since
        if not self._ends:
            return silence_s
        # A silence longer than usual is news: slower requests are running now.
        with_silence_s = (self._busy_s + silence_s) / (self._ends + 1)
        return max(self.waiting, 1) * max(self._busy_s / self._ends, with_silence_s)

    def next_end_s(self, now: float) -> float:
        """Until one more ends. One that is late, or the first, is given as long again."""
        usual_s = self._busy_s / self._ends if self._ends else 0.0
        return abs(usual_s - (now - self._since))
