"""`Child`: one life of the process that decodes one upload, as its parent sees it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from onebox.audio.decoding import frames
from onebox.audio.decoding.options import SILENCE_LIMIT_S, START_LIMIT_S
from onebox.core.os_support import own_group, was_killed

# All the child needs to know of its surroundings; keys and tokens lie there too.
_KEPT_ENVIRONMENT = ("SYSTEMROOT", "PATH", "LD_LIBRARY_PATH")
_ONE_THREAD = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_CHUNK_BYTES = 1 << 20
# For the end of a process that has closed its pipe.
_LAST_SECONDS = 5.0


class ChildFailed(Exception):
    """The child ended before it was done.

    Args:
        message: for the log.
        outside: it was not the file's fault: someone or something else ended the process.
    """

    def __init__(self, message: str, *, outside: bool = False) -> None:
        super().__init__(message)
        self.outside = outside


class Child:
    """Used by one thread at a time, but for `kill`. Starting it takes some tenths of a second."""

    def __init__(self, *, silence_limit_s: float = SILENCE_LIMIT_S) -> None:
        self._limit_s = silence_limit_s
        self._killed = False
        script = Path(__file__).with_name("child.py")
        kept = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-I", str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**kept, **dict.fromkeys(_ONE_THREAD, "1")},
            **own_group(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in: BinaryIO = self._process.stdin  # type: ignore[assignment]  # bytes are asked for
        self._out: BinaryIO = self._process.stdout  # type: ignore[assignment]  # the same

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Raises ChildFailed."""
        kind, _ = self._exchange(START_LIMIT_S, b"")
        if kind != frames.READY:
            raise ChildFailed(f"it began with {kind!r}", outside=True)

    def order(self, orders: Mapping[str, Any], data: bytes) -> tuple[bytes, bytes]:
        """Hand over the upload. Gives the answer, a frame. Raises ChildFailed."""
        return self._exchange(self._limit_s, frames.orders({**orders, "size": len(data)}), data)

    def go(self) -> tuple[bytes, bytes]:
        """Have it decode. Gives the first frame. Raises ChildFailed."""
        return self._exchange(self._limit_s, frames.GO)

    def receive(self) -> tuple[bytes, bytes]:
        """The next frame. Raises ChildFailed."""
        return self._exchange(self._limit_s)

    def kill(self) -> None:
        """From any thread, and more than once: whoever is waiting for it gets ChildFailed."""
        self._killed = True
        self._process.kill()

    def end(self) -> None:
        """Kill it, and clear up after it. Nobody may be waiting for it."""
        self.kill()
        self._process.wait()
        for pipe in (self._in, self._out):
            _close_quietly(pipe)

    def _exchange(self, limit_s: float, *parts: bytes) -> tuple[bytes, bytes]:
        """Write, and read one frame. A child that is late is killed, which ends both."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, give_up)
        timer.daemon = True
        timer.start()
        try:
            self._write(parts)
            frame = frames.read(self._out)
        except frames.BadFrame as error:
            raise ChildFailed(str(error)) from None
        finally:
            timer.cancel()
        if frame is not None:
            return frame
        if late.is_set():
            self._process.wait()
            raise ChildFailed(f"nothing came from it for {limit_s:g} s")
        raise self._failure()

    def _write(self, parts: tuple[bytes, ...]) -> None:
        try:
            for part in parts:
                for at in range(0, len(part), _CHUNK_BYTES):
                    self._in.write(memoryview(part)[at : at + _CHUNK_BYTES])
            self._in.flush()
        except OSError:
            return  # It ended while it was written to, perhaps with an answer.

    def _failure(self) -> ChildFailed:
        """Its pipe has ended: how did it?"""
        try:
            status = self._process.wait(timeout=_LAST_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        outside = self._killed or was_killed(status)
        return ChildFailed(f"exit status {status}", outside=outside)


def _close_quietly(pipe: BinaryIO) -> None:
    try:
        pipe.close()
    except OSError:
        return  # What was not yet written goes with the child.
