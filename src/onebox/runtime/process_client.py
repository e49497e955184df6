"""A worker in a process of its own: started, watched, restarted when it dies or hangs."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping

import structlog

from onebox.core.errors import AppError, ShuttingDown, WorkerLost
from onebox.core.media import Spool
from onebox.runtime.backoff import Backoff
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import FromWorker, Shutdown, Start, ToWorker
from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_process import WorkerProcess

log = structlog.get_logger(__name__)

WATCH_S = 1.0
# A worker that has said nothing for so long and owes an answer is taken for dead.
SILENT_S = 10.0
# Libraries may come from a slow disk; after this it will not come up.
START_S = 300.0
EXIT_MARGIN_S = 5.0
LOAD_PATIENCE = 10

Spawn = Callable[[Callable[[FromWorker], None], Mapping[str, str]], Awaitable[WorkerProcess]]


class ProcessWorkerClient(WorkerClient):
    """Owns one worker process. When it ends, its requests get WorkerLost and another is started.

    Args:
        hang_timeout_s: for how long a worker may be silent, or owe an answer, before it is killed.
        environment: of the process.
        spawn: starts a process that gives its frames to the first argument.
    """

    def __init__(
        self,
        start: Start,
        spool: Spool,
        pools: MemoryPools,
        is_current: Callable[[str], bool],
        *,
        hang_timeout_s: float,
        environment: Mapping[str, str],
        spawn: Spawn = WorkerProcess.spawn,
    ) -> None:
        super().__init__(start.index, spool, pools, is_current)
        self._start_frame = start
        self._hang_timeout_s = hang_timeout_s
        self._spawn = spawn
        self._environment = environment
        self._process: WorkerProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._backoff = Backoff()
        self._closing = False
        self._recycling: str | None = None
        self._killed_for: str | None = None

    async def start(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise(), name=f"worker-{self.index}")

    async def close(self, grace_s: float) -> None:
        self._closing = True
        process = self._process
        if process is not None and process.running:
            if self.state != "ready":
                # Still importing: it has no request, and would read a frame only seconds from now.
                process.kill()
            self._send_quietly(Shutdown(grace_s))
            try:
                await asyncio.wait_for(process.wait(), grace_s + EXIT_MARGIN_S)
            except TimeoutError:
                process.kill()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self._end_life(ShuttingDown("the server is shutting down; try again", retry_after_s=10))
        self._set_state("stopped", "the server is shutting down")

    def _send(self, frame: ToWorker) -> None:
        if self._process is None:
            raise WorkerLost("the worker process is being started", retry_after_s=1)
        self._process.send(frame)

    async def _supervise(self) -> None:
        while not self._closing:
            if self.state != "failed":
                self._set_state("starting", "the worker is starting")
            try:
                cause = await self._live()
            except Exception as error:
                # Without this task no worker would ever be started again.
                log.exception("worker_not_started", device_index=self.index)
                cause = f"it could not be started: {type(error).__name__}"
            if self._closing:
                return
            await self._rest(cause)

    async def _rest(self, cause: str) -> None:
        """Between two lives: after many short ones in a row requests are not kept waiting."""
        if self._recycling is not None:
            self._recycling = None
            return
        log.error("worker_ended", cause=cause, device_index=self.index)
        wait_s = self._backoff.next_s(asyncio.get_running_loop().time())
        if self._backoff.hopeless and self.unfit is None:
            self.retry_after_s = wait_s
            self._set_state(
                "failed",
                f"the worker of device {self.index} ended {self._backoff.failures} times in a row "
                f"({cause}); it is tried again every {wait_s:g} s",
            )
        await asyncio.sleep(wait_s)

    async def _live(self) -> str:
        """One life of the worker process, from spawn to end. Returns what ended it."""
        self._killed_for = self.unfit = None
        try:
            process = await self._spawn(self._dispatch, self._environment)
        except OSError as error:
            return f"it could not be started: {error}"
        self._process = process
        watch = asyncio.create_task(self._watch(process))
        try:
            self._send_quietly(self._start_frame)
            await process.wait()
        finally:
            watch.cancel()
            process.kill()
        cause = self._killed_for or _ending(process.returncode)
        if not self._closing:
            if self.state == "ready":
                self._set_state("starting", "the worker process ended and is being restarted")
            self._end_life(_lost(cause))
        return cause

    async def _watch(self, process: WorkerProcess) -> None:
        """Kill a worker that hangs; restart one that asks for it, once nothing runs."""
        loop = asyncio.get_running_loop()
        born = loop.time()
        while True:
            await asyncio.sleep(WATCH_S)
            owed_s = self._fail_overdue()
            silent_s = loop.time() - self.last_heard if self.state == "ready" else 0.0
            late = self.state != "ready" and loop.time() - born > START_S
            if reason := self._failure(owed_s, silent_s, late=late):
                log.error("worker_killed", reason=reason, device_index=self.index)
                self._killed_for = reason
                process.kill()
            elif self._wants_restart():
                log.warning("worker_recycled", reason=self._recycling, device_index=self.index)
                self._set_state("starting", "the worker is being restarted to get memory back")
                self._send_quietly(Shutdown(0))
                # This task ends with the process.
                await asyncio.sleep(EXIT_MARGIN_S)
                process.kill()

    def _failure(self, owed_s: float, silent_s: float, *, late: bool) -> str | None:
        """Why the worker is to be killed, if it is."""
        if late:
            return f"it did not come up within {START_S:.0f} s"
        if self.last_stats is not None and self.last_stats.failure is not None:
            return self.last_stats.failure
        if silent_s >= self._hang_timeout_s or (silent_s >= SILENT_S and owed_s):
            return f"no sign of life for {silent_s:.0f} s"
        bundles = self.last_stats.bundles if self.last_stats else ()
        # A load cannot be interrupted, and may take long.
        loads = any(bundle.state == "loading" for bundle in bundles)
        if owed_s >= self._hang_timeout_s * (LOAD_PATIENCE if loads else 1):
            return f"a request did not stop for {owed_s:.0f} s"
        return None

    def _wants_restart(self) -> bool:
        if self.state != "ready" or self.pending or self.last_stats is None:
            return False
        self._recycling = self.last_stats.wants_restart
        return self._recycling is not None


def _lost(cause: str) -> AppError:
    return WorkerLost(
        f"the worker process ended unexpectedly ({cause}); it is being restarted", retry_after_s=2
    )


def _ending(returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        try:
            return f"signal {signal.Signals(-returncode).name}"
        except ValueError:
            return f"signal {-returncode}"
    return f"exit status {returncode}"
