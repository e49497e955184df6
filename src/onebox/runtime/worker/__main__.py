"""The worker process: frames in on stdin, frames out on stdout.

`python -m onebox.runtime.worker`.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import structlog

from onebox.core import os_support
from onebox.core.errors import AppError, WorkerUnready
from onebox.core.log_file import LogFile
from onebox.core.logs import configure_logs
from onebox.core.media import Spool
from onebox.core.plugins import FAMILIES, load_plugins
from onebox.runtime.wire import (
    FromWorker,
    Shutdown,
    Start,
    Unfit,
    pack,
    read_frame,
)
from onebox.runtime.worker.start import create_worker
from onebox.runtime.worker.worker import Worker

log = structlog.get_logger(__name__)

HEARTBEAT_S = 1.0
NETWORK_EVENTS = frozenset({"socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo"})


class FrameWriter:
    """Writes frames to the gateway, whole, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def __call__(self, frame: FromWorker) -> None:
        data = pack(frame)
        with self._lock:
            self._stream.write(data)
            self._stream.flush()


def main() -> None:
    os_support.die_with_parent()
    os_support.keep_freed_memory()
    # A terminal's Ctrl-C reaches the whole group; the gateway alone decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stream_in, emit = _take_pipes()
    start = read_frame(stream_in)
    if not isinstance(start, Start):
        return
    log_file = _configure_logs(start)
    sys.addaudithook(_refuse_network)
    try:
        load_plugins()
        worker, hello = create_worker(start, Spool(Path(start.spool)), emit)
        for family in FAMILIES.values():
            family.warm_up()
    except AppError as error:
        emit(Unfit(error.code, error.message))
        return
    except Exception as error:
        log.exception("worker_start_failed")
        emit(
            Unfit(
                WorkerUnready.code, f"the worker could not start: {type(error).__name__}: {error}"
            )
        )
        return
    # What the libraries made at import stays: looking through it again and again takes a tenth of
    # a second each time.
    gc.collect()
    gc.freeze()
    # Frames must get in between the many small steps of engines: the default is ten times this.
    sys.setswitchinterval(0.0005)
    emit(hello)
    stop = threading.Event()
    for name, action in (("heartbeat", worker.tell), ("tidy", worker.tidy)):
        threading.Thread(target=_repeat, args=[action, stop], name=name, daemon=True).start()
    grace_s = _serve(worker, stream_in)
    stop.set()
    worker.close(grace_s)
    # Not through the interpreter's end: that would wait for threads inside native calls.
    if log_file is not None:
        log_file.close()
    logging.shutdown()
    os._exit(0)


def _configure_logs(start: Start) -> LogFile | None:
    file = LogFile(start.log_file) if start.log_file else None
    configure_logs(
        os.environ.get("ONEBOX_LOG_LEVEL", "INFO"),
        os.environ.get("ONEBOX_LOG_FORMAT", "auto"),
        file,
    )
    if file is not None:
        file.open()
    return file


def _take_pipes() -> tuple[BinaryIO, FrameWriter]:
    """Keep the pipe on descriptor 1 for frames, and send every stray print to stderr instead."""
    out = os.dup(1)
    os.dup2(2, 1)
    os_support.use_binary(0)
    os_support.use_binary(out)
    return os.fdopen(0, "rb"), FrameWriter(os.fdopen(out, "wb"))


def _serve(worker: Worker, stream: BinaryIO) -> float:
    """Handle frames until told to stop. Returns the grace time: none when the gateway is gone."""
    while (frame := read_frame(stream)) is not None:
        if isinstance(frame, Shutdown):
            return frame.grace_s
        worker.handle(frame)
    return 0.0


def _repeat(action: Callable[[], None], stop: threading.Event) -> None:
    """A worker that falls silent is taken for dead, so no error may end this but the pipe's end."""
    while not stop.wait(HEARTBEAT_S):
        try:
            action()
        except BrokenPipeError:
            return
        except Exception:
            log.exception("housekeeping_failed")


def _refuse_network(event: str, args: tuple[Any, ...]) -> None:
    """Audit hook: nothing that runs in a worker may reach the network, whatever a library tries."""
    if event in NETWORK_EVENTS:
        raise PermissionError(f"a worker may not use the network ({event})")


if __name__ == "__main__":
    main()
