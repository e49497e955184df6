"""What earlier scans found out, kept in SQLite: file hashes and recognitions. Disposable.

Reads come from memory, filled when the store opens. Writes are batched until `flush`. A damaged
database is made anew; where none can be written, the store works for this process only.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from typing import NamedTuple

import msgspec
import structlog

from onebox.core.disposable_db import open_disposable
from onebox.registry.recognition import Recognition
from onebox.registry.scanner import FileStat

_log = structlog.get_logger(__name__)

# The version is in the table's name: `cache.db` has other users.
_SCHEMA = """
CREATE TABLE IF NOT EXISTS registry_hashes_1 (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode TEXT, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS registry_recognitions_1 (
    path TEXT PRIMARY KEY, signature TEXT, found BLOB) WITHOUT ROWID;
"""
_PUT_HASH = "INSERT OR REPLACE INTO registry_hashes_1 VALUES (?, ?, ?, ?, ?)"
_PUT_RECOGNITION = "INSERT OR REPLACE INTO registry_recognitions_1 VALUES (?, ?, ?)"


class _Hash(NamedTuple):
    size: int
    mtime_ns: int
    inode: str  # 64 unsigned bits do not fit SQLite's integer
    sha256: str


class _Found(NamedTuple):
    signature: str
    found: bytes


class HashStore:
    """Owns its connection to `cache.db`. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._hashes: dict[str, _Hash] = {}
        self._recognitions: dict[str, _Found] = {}
        self._dirty_hashes: set[str] = set()
        self._dirty_recognitions: set[str] = set()
        self._database = open_disposable(path, self._read)

    def hash_of(self, path: str, stat: FileStat) -> str | None:
        """SHA-256 of the file as it is now, if it was hashed like this before."""
        known = self._hashes.get(path)
        return (
            known.sha256
            if known and known[:3] == (stat.size, stat.mtime_ns, str(stat.inode))
            else None
        )

    def remember_hash(self, path: str, stat: FileStat, sha256: str) -> None:
        with self._lock:
            self._hashes[path] = _Hash(stat.size, stat.mtime_ns, str(stat.inode), sha256)
            self._dirty_hashes.add(path)

    def recognition_of(self, path: str, signature: str) -> Recognition | None:
        known = self._recognitions.get(path)
        if known is None or known.signature != signature:
            return None
        try:
            return msgspec.json.decode(known.found, type=Recognition)
        except msgspec.MsgspecError:
            return None

    def remember_recognition(self, path: str, signature: str, found: Recognition) -> None:
        encoded = msgspec.json.encode(found)
        with self._lock:
            self._recognitions[path] = _Found(signature, encoded)
            self._dirty_recognitions.add(path)

    def flush(self) -> None:
        """Write what is new, in one transaction."""
        with self._lock:
            if self._dirty_hashes or self._dirty_recognitions:
                self._write()

    def close(self) -> None:
        self.flush()
        with self._lock, contextlib.suppress(sqlite3.Error):
            self._database.close()

    def _write(self) -> None:
        hashes = [(path, *self._hashes[path]) for path in self._dirty_hashes]
        recognitions = [(path, *self._recognitions[path]) for path in self._dirty_recognitions]
        try:
            with self._database:
                self._database.executemany(_PUT_HASH, hashes)
                self._database.executemany(_PUT_RECOGNITION, recognitions)
        except sqlite3.Error as error:
            # Kept for the next flush: a full disk or a held lock may pass. A start mends damage.
            _log.warning("hash memory not written", path=str(self._path), reason=str(error))
            return
        self._dirty_hashes.clear()
        self._dirty_recognitions.clear()

    def _read(self, database: sqlite3.Connection) -> None:
        database.executescript(_SCHEMA)
        hashes = database.execute("SELECT * FROM registry_hashes_1").fetchall()
        recognitions = database.execute("SELECT * FROM registry_recognitions_1").fetchall()
        self._hashes |= {path: _Hash(*rest) for path, *rest in hashes}
        self._recognitions |= {path: _Found(*rest) for path, *rest in recognitions}
