"""A worker in a process of its own: started, watched, restarted when it dies."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable

import msgspec
import structlog

from onebox.core.errors import InferenceFailed, ShuttingDown, WorkerLost
from onebox.core.media import Spool
from onebox.runtime.wire import (
    LENGTH,
    FromWorker,
    Heartbeat,
    Hello,
    Shutdown,
    Start,
    ToWorker,
    Unfit,
    frame_length,
    from_worker_decoder,
    pack,
)
from onebox.runtime.worker_client import WorkerClient

log = structlog.get_logger(__name__)

FIRST_BACKOFF_S = 0.5
LAST_BACKOFF_S = 30.0
HEALTHY_AFTER_S = 60.0
EXIT_MARGIN_S = 5.0


class ProcessWorkerClient(WorkerClient):
    """Owns one worker process. When it ends, its requests get WorkerLost and another is started."""

    def __init__(
        self,
        start: Start,
        spool: Spool,
        is_current: Callable[[str], bool],
        *,
        log_level: str,
        log_format: str,
    ) -> None:
        super().__init__(start.index, spool, is_current)
        self._start_frame = start
        self._environment = {
            **os.environ,
            "ONEBOX_LOG_LEVEL": log_level,
            "ONEBOX_LOG_FORMAT": log_format,
        }
        self._process: Process | None = None
        self._write_lock = asyncio.Lock()
        self._supervisor: asyncio.Task[None] | None = None
        self._closing = False
        self.restarts = 0

    async def start(self) -> None:
        self._supervisor = asyncio.create_task(self._supervise(), name=f"worker-{self.index}")

    async def close(self, grace_s: float) -> None:
        self._closing = True
        process = self._process
        if process is not None and process.returncode is None:
            if self.state != "ready":
                # Still importing: it has no request, and would read a frame only seconds from now.
                process.kill()
            await self._send_quietly(Shutdown(grace_s))
            try:
                await asyncio.wait_for(process.wait(), grace_s + EXIT_MARGIN_S)
            except TimeoutError:
                process.kill()
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.gather(self._supervisor, return_exceptions=True)
        self._fail_pending(ShuttingDown("the server is shutting down; try again", retry_after_s=10))
        self._set_state("stopped", "the server is shutting down")

    async def _send(self, frame: ToWorker) -> None:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            raise WorkerLost(
                "the worker process is not running; it is being restarted", retry_after_s=1
            )
        try:
            async with self._write_lock:
                process.stdin.write(pack(frame))
                await process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise WorkerLost(
                "the worker process ended; it is being restarted", retry_after_s=1
            ) from error

    async def _supervise(self) -> None:
        backoff_s = FIRST_BACKOFF_S
        while not self._closing:
            started = time.monotonic()
            await self._run_once()
            if self._closing:
                return
            if time.monotonic() - started > HEALTHY_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            self.restarts += 1
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LAST_BACKOFF_S)

    async def _run_once(self) -> None:
        """One life of the worker process, from spawn to end."""
        if self.state != "failed":
            self._set_state("starting", "the worker is starting")
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "onebox.runtime.worker",
            stdin=PIPE,
            stdout=PIPE,
            env=self._environment,
        )
        try:
            await self._send_quietly(self._start_frame)
            await self._read_frames(self._process)
        finally:
            await self._reap(self._process)

    async def _read_frames(self, process: Process) -> None:
        assert process.stdout is not None
        try:
            while True:
                length = frame_length(await process.stdout.readexactly(LENGTH.size))
                self._dispatch(from_worker_decoder.decode(await process.stdout.readexactly(length)))
        except asyncio.IncompleteReadError:
            return
        except (InferenceFailed, msgspec.DecodeError):
            log.exception("worker_sent_garbage", device_index=self.index)

    def _dispatch(self, frame: FromWorker) -> None:
        match frame:
            case Hello():
                log.info(
                    "worker_ready",
                    pid=frame.pid,
                    device=frame.device.id,
                    budget_bytes=frame.budget_bytes,
                )
                self._on_hello(frame)
            case Unfit():
                self._set_state("failed", frame.message)
            case Heartbeat():
                self._on_heartbeat(frame)
            case _:
                self._on_event(frame)

    async def _reap(self, process: Process) -> None:
        """Whatever ended the reading, the process is gone and every request answered when this
        returns.
        """
        if process.returncode is None and not self._closing:
            process.kill()
        lost = WorkerLost(
            "the worker process ended unexpectedly; it is being restarted", retry_after_s=2
        )
        if not self._closing:
            self._fail_pending(lost)
            if self.state == "ready":
                self._set_state("starting", "the worker process ended and is being restarted")
        self.last_stats = None
        await process.wait()
        if not self._closing:
            log.error("worker_ended", returncode=process.returncode, device_index=self.index)
