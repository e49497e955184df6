"""The one place for what differs between operating systems.

Everything here works, or does nothing, on all.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

_PR_SET_PDEATHSIG = 1
_TIMEX_BYTES = 512  # more than it has anywhere
_STA_UNSYNC = 0x40
# Parameters of glibc's mallopt: never return the top of the heap by itself, map only blocks of the
# largest size that it may be told, one heap for all threads.
_MALLOPT = {-1: -1, -3: 32 * 1024**2, -8: 1}
_CGROUP_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


def die_with_parent() -> None:
    """Linux: have the kernel kill this process when its parent ends, also inside a native call."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def keep_freed_memory() -> None:
    """glibc: what is freed waits for its next use, until `return_freed_memory`.

    To be called before there are threads. By default a thread's heap goes back to the kernel in
    between, which clears its pages one by one when they are taken again: about a tenth of the
    processor's time of a large picture. Blocks of 32 MiB and more, as weights are, still go back
    at once: freed parts of a heap do not always fit what comes next.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            for parameter, value in _MALLOPT.items():
                ctypes.CDLL("libc.so.6").mallopt(parameter, value)


def return_freed_memory() -> None:
    """glibc: give freed heap back to the system; without it most of an unloaded model stays
    resident.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def is_clock_unsynchronised() -> bool | None:
    """Linux: whether the kernel says that nothing keeps its clock right; None where none tells."""
    if sys.platform != "linux":
        return None
    # struct timex with modes 0, which changes nothing; `status` follows four longs.
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    if ctypes.CDLL(None, use_errno=True).adjtimex(timex) < 0:
        return None
    word = ctypes.sizeof(ctypes.c_long)
    status = ctypes.c_int.from_buffer(timex, 5 * word).value
    return bool(status & _STA_UNSYNC)


def usable_cpus() -> int:
    """CPUs this process may really use: affinity and cgroup quota, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = _CGROUP_CPU_MAX.read_text().split()
        if quota != "max":
            count = min(count, math.ceil(int(quota) / int(period)))
    return max(1, count)


def own_group() -> dict[str, Any]:
    """Options of `subprocess.Popen` for a quiet child that Ctrl-C does not reach."""
    if sys.platform == "win32":
        flags = subprocess.CREATE_NEW_PROCESS_GROUP | subprocess.BELOW_NORMAL_PRIORITY_CLASS
        return {"creationflags": flags}
    return {"start_new_session": True}


def write_private(path: Path, text: str) -> None:
    """Create a file that only its owner may read (mode 0600 where modes exist).

    Fails if it exists.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def sync_folder(path: Path) -> None:
    """Have the names in a folder on the disk, also of new and renamed files. Windows: nothing."""
    if sys.platform == "win32":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def use_binary(descriptor: int) -> None:
    """Windows: stop a descriptor from translating line ends."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(descriptor, os.O_BINARY)


def was_killed(exit_status: int) -> bool:
    """Whether a process that ended with this status was ended by force."""
    return sys.platform != "win32" and exit_status == -signal.SIGKILL
