"""Identity: the SHA-256 of a file, and of a folder's manifest.

A folder's id is the SHA-256 of its manifest: one line per file that loading reads, sorted by path,
each a compact JSON array `["relative/path",size,"sha256 of the file"]` in UTF-8, each ended by a
newline. JSON keeps a newline in a file name from passing for two lines.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

OpenFile = Callable[[Path], BinaryIO]

# Larger blocks measured no faster; this one keeps `stop` prompt and fits the cache.
_BLOCK_BYTES = 1 << 20


class Stopped(Exception):
    """Hashing was given up because the registry stops."""


def open_binary(path: Path) -> BinaryIO:
    return path.open("rb", buffering=0)


def sha256_of_file(file: BinaryIO, stop: threading.Event | None = None) -> str:
    """SHA-256 of an open file. Releases the GIL. Raises Stopped once `stop` is set."""
    digest = hashlib.sha256()
    block = bytearray(_BLOCK_BYTES)
    view = memoryview(block)
    while count := file.readinto(block):  # type: ignore[attr-defined]  # every binary file has it
        digest.update(view[:count])
        if stop is not None and stop.is_set():
            raise Stopped
    return digest.hexdigest()


def sha256_of_manifest(files: Iterable[tuple[str, int, str]]) -> str:
    """SHA-256 of a folder from (relative POSIX path, size in bytes, SHA-256) of each file."""
    digest = hashlib.sha256()
    for line in sorted(files):
        digest.update(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return digest.hexdigest()
