"""`WorkerProcess`: the pipes of one worker process, as a protocol of the event loop."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Self, cast

import msgspec
import structlog

from onebox.core.errors import InferenceFailed, WorkerLost
from onebox.runtime.wire import (
    LENGTH,
    FromWorker,
    ToWorker,
    frame_length,
    from_worker_decoder,
    pack,
)

log = structlog.get_logger(__name__)

STDIN = 0


class WorkerProcess(asyncio.SubprocessProtocol):
    """One life of a worker: frames in, frames out, and its end.

    Args:
        on_frame: called with each frame the worker sends.
    """

    def __init__(self, on_frame: Callable[[FromWorker], None]) -> None:
        self._on_frame = on_frame
        self._unparsed = bytearray()
        self._unsent: list[bytes] = []
        self._transport: asyncio.SubprocessTransport | None = None
        self._stdin: asyncio.WriteTransport | None = None
        self._ended = asyncio.Event()

    @classmethod
    async def spawn(
        cls, on_frame: Callable[[FromWorker], None], environment: Mapping[str, str]
    ) -> Self:
        loop = asyncio.get_running_loop()
        _, process = await loop.subprocess_exec(
            lambda: cls(on_frame),
            sys.executable,
            "-m",
            "onebox.runtime.worker",
            stderr=None,
            env=dict(environment),
        )
        return process

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    @property
    def returncode(self) -> int | None:
        return self._transport.get_returncode() if self._transport else None

    def send(self, frame: ToWorker) -> None:
        """Raises WorkerLost when the process has ended."""
        if self._stdin is None or self._stdin.is_closing() or not self.running:
            raise WorkerLost(
                "the worker process is not running; it is being restarted", retry_after_s=1
            )
        data = pack(frame)
        if not self._unsent:
            # At the end of this turn of the loop: what it sends together is one write.
            asyncio.get_running_loop().call_soon(self._flush)
        self._unsent.append(data)

    def _flush(self) -> None:
        unsent, self._unsent = self._unsent, []
        if self._stdin is not None and not self._stdin.is_closing():
            self._stdin.write(b"".join(unsent))

    def kill(self) -> None:
        if self._transport is not None and self.returncode is None:
            self._transport.kill()

    async def wait(self) -> None:
        """Until the process and its pipes have ended."""
        await self._ended.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Casts, for uvloop's transports are not asyncio's classes.
        self._transport = cast(asyncio.SubprocessTransport, transport)
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN))

    def pipe_data_received(self, fd: int, data: bytes | str) -> None:
        assert isinstance(data, bytes)
        self._unparsed += data
        try:
            frames = self._frames()
        except (InferenceFailed, msgspec.DecodeError):
            log.exception("worker_sent_garbage")
            self._unparsed.clear()
            self.kill()
            return
        for frame in frames:
            self._deliver(frame)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        # Without its pipes a worker is of no use, and what it still does nobody would learn of.
        self.kill()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()

    def _deliver(self, frame: FromWorker) -> None:
        """A bug on the way of one frame must not keep the next ones from their requests."""
        try:
            self._on_frame(frame)
        except Exception:
            log.exception("frame_failed", frame=type(frame).__name__)

    def _frames(self) -> list[FromWorker]:
        """The whole frames that have come in, taken out of what is not parsed."""
        found, start, unparsed = [], 0, self._unparsed
        while len(unparsed) - start >= LENGTH.size:
            body = start + LENGTH.size
            end = body + frame_length(bytes(unparsed[start:body]))
            if len(unparsed) < end:
                break
            found.append(from_worker_decoder.decode(memoryview(unparsed)[body:end].tobytes()))
            start = end
        del unparsed[:start]
        return found
