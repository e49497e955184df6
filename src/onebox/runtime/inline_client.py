"""A worker on a thread of this process: for tests and debugging. Imports torch into the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from onebox.core.errors import AppError, ShuttingDown, WorkerLost
from onebox.core.media import Spool
from onebox.core.plugins import FAMILIES
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import FromWorker, Heartbeat, Start, ToWorker
from onebox.runtime.worker.start import create_worker
from onebox.runtime.worker.worker import Worker
from onebox.runtime.worker_client import WorkerClient

TIDY_S = 1.0


class InlineWorkerClient(WorkerClient):
    """Runs the same `Worker` in this process, where nothing can kill one that hangs."""

    def __init__(
        self, start: Start, spool: Spool, pools: MemoryPools, is_current: Callable[[str], bool]
    ) -> None:
        super().__init__(start.index, spool, pools, is_current)
        self._start_frame = start
        self._worker: Worker | None = None
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._life = asyncio.create_task(self._live(), name="inline-worker")

    async def close(self, grace_s: float) -> None:
        if self._life is not None:
            self._life.cancel()
        worker, self._worker = self._worker, None
        self._set_state("stopped", "the server is shutting down")
        if worker is not None:
            await asyncio.to_thread(worker.close, grace_s)
        self._end_life(ShuttingDown("the server is shutting down; try again", retry_after_s=10))

    def _send(self, frame: ToWorker) -> None:
        if self._worker is None:
            raise WorkerLost("the worker is not running", retry_after_s=1)
        self._worker.handle(frame)

    async def _live(self) -> None:
        try:
            worker, hello = await asyncio.to_thread(
                create_worker, self._start_frame, self._spool, self._emit
            )
            for family in FAMILIES.values():
                await asyncio.to_thread(family.warm_up)
        except AppError as error:
            self._set_state("failed", error.message)
            return
        self._worker = worker
        self._on_hello(hello)
        while True:
            self._on_heartbeat(Heartbeat(worker.stats()))
            await asyncio.sleep(TIDY_S)
            self._fail_overdue()
            await asyncio.to_thread(worker.tidy)

    def _emit(self, frame: FromWorker) -> None:
        """Called on the worker's threads."""
        self._loop.call_soon_threadsafe(self._dispatch, frame)
