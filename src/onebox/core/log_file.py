"""`LogFile`: log lines in files that are rotated, written by a thread of its own."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from logging.handlers import RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue

import msgspec
from filelock import FileLock, Timeout

# Lines that wait for a disk that does not answer; more are counted and forgotten.
MAX_WAITING = 10_000
# For how long lines are gathered: one write for many, and a thread that is seldom awake.
GATHER_S = 0.1
# After a failure the next try is not sooner.
REST_S = 10.0
CLOSE_S = 2.0
MAX_CHUNK = 64 * 1024


class LogFilePlan(msgspec.Struct, frozen=True):
    """Where a process writes its lines.

    Attributes:
        max_bytes: a file that would grow beyond it is put aside, and a new one begun.
        backups: how many of those put aside are kept: `onebox.log.1` is the newest.
    """

    path: str
    max_bytes: int
    backups: int

    def of_worker(self, index: int) -> LogFilePlan:
        """The file of that worker: two processes must not rotate one."""
        path = Path(self.path)
        name = f"{path.stem}-worker-{index}{path.suffix}"
        return msgspec.structs.replace(self, path=str(path.with_name(name)))


def _tell(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


class LogFile:
    """Takes lines from any thread, and never makes one of them wait or fail.

    A file that cannot be written is told of once, and tried again; lines that could not be written
    are counted. Only its owner may read the files.

    Args:
        tell: says what is wrong, where the log cannot.
    """

    def __init__(
        self,
        plan: LogFilePlan,
        *,
        tell: Callable[[str], None] = _tell,
        clock: Callable[[], float] = time.monotonic,
        gather_s: float = GATHER_S,
    ) -> None:
        self.path = Path(plan.path)
        self._plan = plan
        self._tell = tell
        self._clock = clock
        self._gather_s = gather_s
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._lost = 0
        self._failed_at: float | None = None
        self._lock = FileLock(f"{self.path}.lock", mode=0o600)
        self._file: _File | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log-file", daemon=True)

    def put(self, line: str) -> None:
        """A line without its end. Kept until `open` was called."""
        if self._lines.qsize() < MAX_WAITING:
            self._lines.put(line)
        else:
            self._lost += 1

    def open(self) -> None:
        """Begin to write what was put, and go on with what will be."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left, within a bound: a disk may never answer."""
        if not self._thread.is_alive():
            return
        self._closing.set()
        self._lines.put(None)
        self._thread.join(CLOSE_S)

    def _work(self) -> None:
        while not self._closing.is_set():
            first = self._lines.get()
            self._closing.wait(self._gather_s)
            self._write(list(self._waiting(first)))
        self._write(list(self._waiting(None)))
        if self._file is not None:
            self._file.close()
        self._lock.release()

    def _waiting(self, first: str | None) -> Iterator[str]:
        if first is not None:
            yield first
        for _ in range(self._lines.qsize()):
            line = self._lines.get()
            if line is not None:
                yield line

    def _write(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        if self._resting():
            self._lost += len(lines)
            return
        written = 0
        try:
            file = self._opened()
            for chunk in _chunks(lines, min(MAX_CHUNK, self._plan.max_bytes // 4)):
                file.emit(logging.makeLogRecord({"msg": "\n".join(chunk)}))
                written += len(chunk)
            self._recovered(file)
        except Exception as error:  # Whatever it is, the next line may be written.
            self._lost += len(lines) - written
            self._failed(error)

    def _resting(self) -> bool:
        if self._failed_at is None or self._closing.is_set():
            return False
        return self._clock() - self._failed_at < REST_S

    def _opened(self) -> _File:
        """Raises OSError, or Timeout when another process writes this file."""
        if self._file is not None and self._file.is_gone():
            self._file.close()
            self._file = None
            self._lock.release()
        if self._file is None:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
            self._file = _File(
                self.path,
                maxBytes=self._plan.max_bytes,
                backupCount=self._plan.backups,
                encoding="utf-8",
                delay=True,
            )
        return self._file

    def _failed(self, error: Exception) -> None:
        if self._failed_at is None:
            reason = "another process writes it" if isinstance(error, Timeout) else str(error)
            self._tell(
                f"the log file {self.path} cannot be written: {reason}; "
                "log lines go to the console only until it can be (ONEBOX_LOG_FILE)"
            )
        self._failed_at = self._clock()
        # Opened anew: the disk may be another one by then.
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError, ValueError):
                file.close()

    def _recovered(self, file: _File) -> None:
        self._failed_at = None
        lost, self._lost = self._lost, 0
        if lost:
            told = {"event": "log_lines_lost", "level": "warning", "lines": lost}
            file.emit(logging.makeLogRecord({"msg": msgspec.json.encode(told).decode()}))


class _File(RotatingFileHandler):
    """The standard one, which only its owner may read, and whose failures are raised."""

    def _open(self):  # type: ignore[no-untyped-def]  # As the class declares it.
        file = open(  # noqa: SIM115  # The handler closes it.
            self.baseFilename,
            self.mode,
            encoding=self.encoding,
            # One line with half a character in it must not keep the others out.
            errors="backslashreplace",
            opener=partial(os.open, mode=0o600),
        )
        if _is_torn(Path(self.baseFilename)):
            file.write("\n")
        return file

    def is_gone(self) -> bool:
        """Whether someone has deleted it, or put it aside."""
        if self.stream is None:
            return False
        try:
            return not os.path.samestat(os.fstat(self.stream.fileno()), os.stat(self.baseFilename))
        except FileNotFoundError:
            return True

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # The class's name.
        error = sys.exc_info()[1]
        assert error is not None
        raise error


def _is_torn(path: Path) -> bool:
    """Whether its last line has no end: the disk was full, or the process was killed."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - 1))
        return size > 0 and file.read(1) != b"\n"


def _chunks(lines: Sequence[str], most_chars: int) -> Iterator[list[str]]:
    """The lines in order, in parts that are written at once: files are rotated between them."""
    chunk, size = list[str](), 0
    for line in lines:
        if chunk and size + len(line) > most_chars:
            yield chunk
            chunk, size = [], 0
        chunk.append(line)
        size += len(line) + 1
    yield chunk
