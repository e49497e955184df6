"""`WorkerClient`: the gateway's handle on a worker, the same for a process and for a thread."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

from onebox.core.errors import AppError, Cancelled, DeadlineExceeded, WorkerUnready
from onebox.core.media import Spool
from onebox.hardware.memory import HOST_POOL
from onebox.runtime.exchange import Exchange, Request
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import (
    Cancel,
    Claim,
    Event,
    Failed,
    FromWorker,
    GaveUp,
    Heartbeat,
    Hello,
    Load,
    Result,
    Retire,
    Submit,
    ToWorker,
    Unfit,
    Unload,
    WorkerStats,
)

State = Literal["starting", "ready", "failed", "stopped"]

# How much longer than the worker the gateway waits for an answer: it steps in when a worker hangs.
OVERDUE_MARGIN_S = 2.0
STATS_S = 10.0
# About as long as a worker takes to come up.
START_RETRY_S = 5.0


class WorkerClient(ABC):
    """Sends requests to a worker and hands each its own events.

    Lives on the gateway's event loop.

    Attributes:
        unfit: why the worker could not start, if it said so itself.
        lives: how many workers there were; everything a former one had in memory is gone.
        last_heard: when the worker last sent a heartbeat, in seconds of the loop's clock.
    """

    def __init__(
        self,
        index: int,
        spool: Spool,
        pools: MemoryPools,
        is_current: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """`is_current` tells of an entry's key whether it still is what lies on disk."""
        self._is_current = is_current
        self._pools = pools
        self.index = index
        self.state: State = "starting"
        self.reason = "the worker is starting"
        self.retry_after_s = START_RETRY_S
        self.unfit: str | None = None
        self.hello: Hello | None = None
        self.last_stats: WorkerStats | None = None
        self.lives = 0
        self.last_heard = 0.0
        self._spool = spool
        self._ready = asyncio.Event()
        self._exchanges: dict[str, Exchange] = {}
        # By when the worker must have ended each request, and what it ends in if it has not.
        self._owed: dict[str, tuple[float, AppError]] = {}

    @abstractmethod
    async def start(self) -> None:
        """Begin to start the worker; `wait_ready` tells when it is up."""

    @abstractmethod
    async def close(self, grace_s: float) -> None:
        """Let running requests finish within the grace time, fail the rest, end the worker."""

    @abstractmethod
    def _send(self, frame: ToWorker) -> None:
        """Pass a frame on. Raises WorkerLost when the worker is gone."""

    @property
    def pending(self) -> int:
        return len(self._exchanges)

    def uses_unified_memory(self) -> bool:
        """Whether its device is a graphics processor that draws from the host's memory."""
        device = self.hello.device if self.hello else None
        return device is not None and device.kind != "cpu" and device.pool == HOST_POOL

    def pending_keys(self) -> list[str]:
        """The entry of each request that is at the worker now."""
        requests = [exchange.request for exchange in self._exchanges.values()]
        return [request.entry.key for request in requests if isinstance(request, Submit | Load)]

    async def wait_ready(self, timeout_s: float) -> None:
        """Raises WorkerUnready when the worker is not up in time, or cannot be."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.state == "starting":
                    await self._ready.wait()
        except TimeoutError:
            raise self.unready() from None
        if self.state != "ready":
            raise self.unready()

    def unready(self) -> WorkerUnready:
        return WorkerUnready(self.reason, retry_after_s=self.retry_after_s)

    def submit(
        self,
        request: Request,
        observe: Callable[[Event], None] | None = None,
        *,
        only_end: bool = False,
    ) -> Exchange:
        """Send a request. Use the answer as an async context manager, and iterate it.

        Raises WorkerLost when the worker is gone.
        """
        if request.id in self._exchanges:
            raise ValueError(f"request id {request.id} is taken")
        exchange = Exchange(request, observe, only_end, self._leave)
        self._send(request)
        self._exchanges[request.id] = exchange
        now = asyncio.get_running_loop().time()
        self._owed[request.id] = (
            now + _limit_s(request) + OVERDUE_MARGIN_S,
            DeadlineExceeded("the request did not finish within its time limit"),
        )
        return exchange

    def cancel(self, request_id: str) -> None:
        """Have the worker end a request; its last event says so."""
        if request_id in self._owed:
            due = asyncio.get_running_loop().time() + OVERDUE_MARGIN_S
            error = Cancelled("the request was cancelled")
            self._owed[request_id] = (min(due, self._owed[request_id][0]), error)
        self._send_quietly(Cancel(request_id))

    def _leave(self, exchange: Exchange) -> None:
        """Nobody listens to the exchange any more."""
        request_id = exchange.request.id
        self._exchanges.pop(request_id, None)
        if not exchange.ended:
            self.cancel(request_id)
        for event in exchange.unread():
            if isinstance(event, Result):
                self._discard(event)

    def _send_quietly(self, frame: ToWorker) -> None:
        try:
            self._send(frame)
        except AppError:
            return

    def _dispatch(self, frame: FromWorker) -> None:
        match frame:
            case Hello():
                self._on_hello(frame)
            case Unfit():
                self.unfit = frame.message
                self._set_state("failed", frame.message)
            case Heartbeat():
                self._on_heartbeat(frame)
            case Claim():
                self._pools.on_claim(self, frame)
            case GaveUp():
                self._pools.on_gave_up(self, frame)
            case _:
                self._on_event(frame)

    def _on_event(self, event: Event) -> None:
        ended = isinstance(event, Result | Failed)
        if ended:
            self._owed.pop(event.id, None)
        if isinstance(event, Result) and event.stats is not None:
            self.last_stats = event.stats
        exchange = self._exchanges.get(event.id)
        if exchange is not None and not exchange.ended:
            exchange.put(event)
        elif isinstance(event, Result):
            self._discard(event)

    def _on_hello(self, hello: Hello) -> None:
        self.hello = hello
        self.lives += 1
        self.retry_after_s = START_RETRY_S
        self.last_heard = asyncio.get_running_loop().time()
        self._pools.join(self, hello, self._send_quietly)
        self._set_state("ready", "")

    def _on_heartbeat(self, heartbeat: Heartbeat) -> None:
        self.last_heard = asyncio.get_running_loop().time()
        self.last_stats = heartbeat.stats
        stale = tuple(b.key for b in heartbeat.stats.bundles if not self._is_current(b.key))
        if stale:
            self._send_quietly(Retire(stale))
        self._pools.refresh(self)

    def _fail_overdue(self) -> float:
        """Answer requests whose time is long over, for a worker that does not.

        Returns for how many seconds the worker has owed an answer; 0 when it owes none.
        """
        now = asyncio.get_running_loop().time()
        overdue = [(now - due, name, error) for name, (due, error) in self._owed.items()]
        overdue = [item for item in overdue if item[0] > 0]
        for _, request_id, error in overdue:
            exchange = self._exchanges.get(request_id)
            if exchange is not None and not exchange.ended:
                exchange.put(Failed.from_error(request_id, error))
                self.cancel(request_id)
        return max((late_s for late_s, _, _ in overdue), default=0.0)

    def _end_life(self, error: AppError) -> None:
        """The worker is gone: so are its memory and its requests, which get `error`."""
        self._pools.leave(self)
        self.last_stats = None
        self._owed.clear()
        for request_id, exchange in list(self._exchanges.items()):
            exchange.put(Failed.from_error(request_id, error))

    def _set_state(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        if state == "starting":
            self._ready.clear()
        else:
            self._ready.set()

    def _discard(self, result: Result) -> None:
        """A result nobody waits for any more leaves nothing behind."""
        for artifact in result.artifacts:
            if artifact.spool_id is not None:
                self._spool.discard(artifact.spool_id)


def _limit_s(request: Request) -> float:
    """For how long a worker may work on a request."""
    match request:
        case Submit() | Load():
            return request.timeout_s
        case Unload():
            return request.wait_s
    return STATS_S
