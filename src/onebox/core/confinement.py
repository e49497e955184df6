"""What a child process gives up before it looks at a file of a stranger's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

# Nothing that a file does to a decoder may leave the process.
FORBIDDEN_EVENTS = (
    "open",
    "import",
    "os.",
    "socket.",
    "subprocess.",
    "shutil.",
    "ctypes.",
    "pty.",
    "mmap.",
    "tempfile.",
    "glob.",
)


def set_limits(limits: Mapping[str, int], working_bytes: int) -> None:
    """Limits by their names in `resource`, and so much memory beside what is taken already.

    Where the system has no such limits, `refuse_the_outside` and the parent's time limit have to
    do.
    """
    if sys.platform == "win32":
        return
    import resource

    wanted = {"RLIMIT_CORE": 0, "RLIMIT_NOFILE": 0, **limits}
    if (taken := _address_space()) is not None:
        wanted["RLIMIT_AS"] = taken + working_bytes
    for name, limit in wanted.items():
        with suppress(OSError, ValueError):
            resource.setrlimit(getattr(resource, name), (limit, limit))


def refuse_the_outside(who: str) -> None:
    """From now on no file, socket, process or module can be opened. For the process's whole life.

    Args:
        who: may not do that, for the error.
    """

    def refuse(event: str, _args: tuple[Any, ...]) -> None:
        if event.startswith(FORBIDDEN_EVENTS):
            raise PermissionError(f"{who} may not do that ({event})")

    sys.addaudithook(refuse)


def _address_space() -> int | None:
    """In bytes; None where it cannot be told."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
