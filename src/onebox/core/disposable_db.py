"""SQLite files whose loss costs time only: made anew when damaged, and where none can be, kept in
memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import structlog

_log = structlog.get_logger(__name__)

Prepare = Callable[[sqlite3.Connection], None]
_SIDE_FILES = ("", "-wal", "-shm")
_BUSY_TIMEOUT_S = 5.0


def open_disposable(path: Path, prepare: Prepare) -> sqlite3.Connection:
    """Open the file for use from any thread, one at a time. Never fails.

    Args:
        prepare: makes the tables and reads them whole, which finds damage. It may be called again
            with another database, and must not have kept anything if it raised.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _connect(path, prepare)
    except sqlite3.Error as error:
        return (
            _recreate(path, prepare, error)
            if _is_damaged(error)
            else _in_memory(path, prepare, error)
        )
    except OSError as error:
        return _in_memory(path, prepare, error)


def _connect(path: Path, prepare: Prepare) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=_BUSY_TIMEOUT_S)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        prepare(database)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _recreate(path: Path, prepare: Prepare, error: sqlite3.Error) -> sqlite3.Connection:
    _log.warning("cache was damaged and is made anew", path=str(path), reason=str(error))
    try:
        for suffix in _SIDE_FILES:
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        return _connect(path, prepare)
    except (sqlite3.Error, OSError) as second:
        return _in_memory(path, prepare, second)


def _in_memory(path: Path, prepare: Prepare, error: Exception) -> sqlite3.Connection:
    _log.warning("cache is kept for this run only", path=str(path), reason=str(error))
    database = sqlite3.connect(":memory:", check_same_thread=False)
    prepare(database)
    return database


def _is_damaged(error: sqlite3.Error) -> bool:
    """Not a database, or malformed: the plain class. Locks and full disks are subclasses."""
    return type(error) is sqlite3.DatabaseError
