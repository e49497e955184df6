"""The data folder belongs to one server at a time."""

from __future__ import annotations

import os
from pathlib import Path

from filelock import FileLock, Timeout

from onebox.core.errors import ConfigurationError


def lock_data_dir(data_dir: Path) -> FileLock:
    """Held until it is released. Raises ConfigurationError that names the process which has it."""
    lock = FileLock(data_dir / "lock")
    holder = data_dir / "lock.pid"
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text(encoding="utf-8").strip() if holder.is_file() else "unknown"
        raise ConfigurationError(
            f"{data_dir} is in use by another Onebox (process {pid}); stop it, or set DATA_DIR"
        ) from None
    holder.write_text(f"{os.getpid()}\n", encoding="utf-8")
    return lock


def holder_of(data_dir: Path) -> int | None:
    """The process that has the folder now."""
    holder = data_dir / "lock.pid"
    if not holder.is_file():
        return None
    lock = FileLock(data_dir / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text(encoding="utf-8").strip()
        return int(pid) if pid.isdecimal() else None
    lock.release()
    return None
