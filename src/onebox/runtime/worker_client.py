"""`WorkerClient`: the gateway's handle on a worker, the same for a process and for a thread."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from typing import Literal

from onebox.core.errors import AppError, WorkerUnready
from onebox.core.media import Spool
from onebox.runtime.wire import (
    Cancel,
    Event,
    Failed,
    Heartbeat,
    Hello,
    Load,
    Result,
    Retire,
    Stats,
    Submit,
    ToWorker,
    Unload,
    WorkerStats,
)

State = Literal["starting", "ready", "failed", "stopped"]


class WorkerClient(ABC):
    """Sends requests to a worker and hands each its own events.

    Lives on the gateway's event loop.
    """

    def __init__(
        self, index: int, spool: Spool, is_current: Callable[[str], bool] = lambda _: True
    ) -> None:
        """`is_current` tells of an entry's key whether it still is what lies on disk."""
        self._is_current = is_current
        self.index = index
        self.state: State = "starting"
        self.reason = "the worker is starting"
        self.hello: Hello | None = None
        self.last_stats: WorkerStats | None = None
        self._spool = spool
        self._ready = asyncio.Event()
        self._pending: dict[str, asyncio.Queue[Event]] = {}
        self._sending: set[asyncio.Future[None]] = set()

    @abstractmethod
    async def start(self) -> None:
        """Begin to start the worker; `wait_ready` tells when it is up."""

    @abstractmethod
    async def close(self, grace_s: float) -> None:
        """Let running requests finish within the grace time, fail the rest, end the worker."""

    @abstractmethod
    async def _send(self, frame: ToWorker) -> None:
        """Pass a frame on. Raises WorkerLost when the worker is gone."""

    @property
    def pending(self) -> int:
        return len(self._pending)

    async def wait_ready(self, timeout_s: float) -> None:
        """Raises WorkerUnready when the worker is not up in time, or cannot be."""
        try:
            async with asyncio.timeout(timeout_s):
                while self.state == "starting":
                    await self._ready.wait()
        except TimeoutError:
            raise WorkerUnready(self.reason, retry_after_s=5) from None
        if self.state != "ready":
            raise WorkerUnready(self.reason, retry_after_s=5)

    async def submit(self, request: Submit | Load | Unload | Stats) -> AsyncGenerator[Event, None]:
        """The request's events, ending in exactly one Result or Failed.

        Leaving the iteration early cancels the request. Use `contextlib.aclosing`.
        """
        queue: asyncio.Queue[Event] = asyncio.Queue()
        if request.id in self._pending:
            raise ValueError(f"request id {request.id} is taken")
        self._pending[request.id] = queue
        ended = False
        try:
            await self._send(request)
            while not ended:
                event = await queue.get()
                ended = isinstance(event, Result | Failed)
                yield event
        finally:
            self._pending.pop(request.id, None)
            if not ended:
                self._drop(queue)
                await asyncio.shield(self._send_quietly(Cancel(request.id)))

    async def _send_quietly(self, frame: ToWorker) -> None:
        try:
            await self._send(frame)
        except AppError:
            return

    def _on_event(self, event: Event) -> None:
        queue = self._pending.get(event.id)
        if queue is not None:
            queue.put_nowait(event)
        elif isinstance(event, Result):
            self._discard(event)

    def _on_hello(self, hello: Hello) -> None:
        self.hello = hello
        self._set_state("ready", "")

    def _on_heartbeat(self, heartbeat: Heartbeat) -> None:
        self.last_stats = heartbeat.stats
        stale = tuple(b.key for b in heartbeat.stats.bundles if not self._is_current(b.key))
        if stale:
            task = asyncio.ensure_future(self._send_quietly(Retire(stale)))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    def _set_state(self, state: State, reason: str) -> None:
        self.state, self.reason = state, reason
        if state == "starting":
            self._ready.clear()
        else:
            self._ready.set()

    def _fail_pending(self, error: AppError) -> None:
        for request_id, queue in self._pending.items():
            queue.put_nowait(Failed.from_error(request_id, error))

    def _drop(self, queue: asyncio.Queue[Event]) -> None:
        while not queue.empty():
            event = queue.get_nowait()
            if isinstance(event, Result):
                self._discard(event)

    def _discard(self, result: Result) -> None:
        """A result nobody waits for any more leaves nothing behind."""
        for artifact in result.artifacts:
            if artifact.spool_id is not None:
                self._spool.discard(artifact.spool_id)
