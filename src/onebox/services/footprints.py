"""What models and requests took of memory when they were measured, kept in SQLite. Disposable.

Reads come from memory, filled when the store opens. A damaged database is made anew; where none
can be written, the store works for this process only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import structlog

from onebox.core.disposable_db import open_disposable

_log = structlog.get_logger(__name__)

# The version is in the table's name: `cache.db` has other users.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS footprints_sizes_1 (
    checkpoint TEXT, dtype TEXT, device TEXT, size_bytes INTEGER,
    PRIMARY KEY (checkpoint, dtype, device)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS footprints_peaks_1 (
    checkpoint TEXT, task TEXT, size_class TEXT, dtype TEXT, device TEXT, peak_bytes INTEGER,
    PRIMARY KEY (checkpoint, task, size_class, dtype, device)) WITHOUT ROWID;
"""
_PUT_SIZE = "INSERT OR REPLACE INTO footprints_sizes_1 VALUES (?, ?, ?, ?)"
_PUT_PEAK = "INSERT OR REPLACE INTO footprints_peaks_1 VALUES (?, ?, ?, ?, ?, ?)"


class _Size(NamedTuple):
    checkpoint: str
    dtype: str
    device: str


class _Peak(NamedTuple):
    checkpoint: str
    task: str
    size_class: str
    dtype: str
    device: str


class Footprints:
    """Owns its connection to `cache.db` and the thread that writes there.

    Safe to use from several threads. No method but `close` waits for the disk: another user of the
    file may be writing, and callers sit on the event loop. A `checkpoint` is named by the hash of
    its contents, a `device` by kind and card, so that another card inherits nothing.

    Args:
        path: None to remember for this process only.
    """

    def __init__(self, path: Path | None) -> None:
        self._lock = threading.Lock()
        self._sizes: dict[_Size, int] = {}
        self._peaks: dict[_Peak, int] = {}
        self._database = None if path is None else open_disposable(path, self._read)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="footprints")
        self._closed = False

    def size_of(self, checkpoint: str, dtype: str, device: str) -> int | None:
        """Bytes that the loaded weights took when last measured."""
        return self._sizes.get(_Size(checkpoint, dtype, device))

    def remember_size(self, checkpoint: str, dtype: str, device: str, size_bytes: int) -> None:
        key = _Size(checkpoint, dtype, device)
        with self._lock:
            if self._sizes.get(key) == size_bytes:
                return
            self._sizes[key] = size_bytes
            self._write_later(_PUT_SIZE, (*key, size_bytes))

    def peak_of(
        self, checkpoint: str, task: str, size_class: str, dtype: str, device: str
    ) -> int | None:
        """The most bytes that a run of such a request took beside the weights."""
        return self._peaks.get(_Peak(checkpoint, task, size_class, dtype, device))

    def remember_peak(
        self, checkpoint: str, task: str, size_class: str, dtype: str, device: str, peak_bytes: int
    ) -> None:
        """Does nothing if a run took as much before."""
        key = _Peak(checkpoint, task, size_class, dtype, device)
        with self._lock:
            if self._peaks.get(key, -1) >= peak_bytes:
                return
            self._peaks[key] = peak_bytes
            self._write_later(_PUT_PEAK, (*key, peak_bytes))

    def close(self) -> None:
        """Wait until everything is written. What comes later is not."""
        with self._lock:
            self._closed = True
        self._writer.shutdown(wait=True)
        if self._database is not None:
            with contextlib.suppress(sqlite3.Error):
                self._database.close()

    def _write_later(self, statement: str, row: tuple[object, ...]) -> None:
        """Under the lock, so that the rows of one key are written in the order of the calls."""
        if self._database is not None and not self._closed:
            self._writer.submit(_write, self._database, statement, row)

    def _read(self, database: sqlite3.Connection) -> None:
        database.executescript(_SCHEMA)
        sizes = database.execute("SELECT * FROM footprints_sizes_1").fetchall()
        peaks = database.execute("SELECT * FROM footprints_peaks_1").fetchall()
        self._sizes |= {_Size(*key): size_bytes for *key, size_bytes in sizes}
        self._peaks |= {_Peak(*key): peak_bytes for *key, peak_bytes in peaks}


def _write(database: sqlite3.Connection, statement: str, row: tuple[object, ...]) -> None:
    try:
        with database:
            database.execute(statement, row)
    except sqlite3.Error as error:
        # Lost for the next start only, which measures again.
        _log.warning("footprint not written", reason=str(error))
