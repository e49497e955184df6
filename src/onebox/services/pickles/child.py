"""The child process that turns one pickled weight file into safetensors.

Started by `process.py` as a script, isolated, with one line of JSON on stdin: `source` and `target`
(paths), `source_bytes`, `most_bytes` (that the result may take), `working_bytes` (of memory) and
`cpu_s`. It opens these two files, gives up everything else, and only then looks into the source. It
answers in lines of JSON on stdout: `{"fraction"}` as it goes on, and last `{"done": bytes}` or
`{"error", "message"}`, where `error` is "code", "contents", "memory", "space" or "system". It ends
with its stdin: when the parent goes, or wants no more.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

WORDS = 300
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_FAULTS = (errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ETIMEDOUT)
TOO_LITTLE_MEMORY = re.compile("not enough memory|allocate memory")


class Memory(io.RawIOBase):
    """Bytes as a raw file."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._inner.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        return self._inner.readinto(buffer)


def warm_up() -> None:
    """Once through, well and badly, so that whatever is imported late is imported now."""
    import torch

    from onebox.services.pickles import weights

    torch.set_num_threads(1)
    weights.allow_notes()
    values = {"a": torch.ones(2, 2).t(), "b": torch.nn.Parameter(torch.ones(2).half())}
    for is_zip in (True, False):
        raw = io.BytesIO()
        torch.save(values, raw, _use_new_zipfile_serialization=is_zip)
        orders = {"source_bytes": 2**20, "most_bytes": 2**20}
        with suppress(io.UnsupportedOperation):  # memory cannot be synced to a disk
            source = weights.Source(Memory(raw.getvalue()))
            weights.convert(source, io.BytesIO(), orders, lambda _answer: None)
    for wrong in (b"\x80\x02cos\nsystem\n.", b"PK\x03\x04"):
        with suppress(Exception):
            weights.load(weights.Source(Memory(wrong)))


def shut(orders: Mapping[str, Any]) -> None:
    """Give up files, sockets, processes, and most of memory and time."""
    from onebox.core.confinement import refuse_the_outside, set_limits

    limits = {
        "RLIMIT_FSIZE": orders["most_bytes"],
        "RLIMIT_NPROC": 0,
        "RLIMIT_CPU": int(orders["cpu_s"]),
    }
    set_limits(limits, orders["working_bytes"])
    refuse_the_outside("a conversion")


def answer_to(error: BaseException) -> dict[str, str]:
    """What the parent is told; of a library's words only the name that a file asked for."""
    from onebox.services.pickles.weights import Refused

    if isinstance(error, Refused):
        return {"error": error.kind, "message": str(error)[:WORDS]}
    if isinstance(error, OSError) and error.errno in (*FULL, *DISK_FAULTS):
        kind = "space" if error.errno in FULL else "system"
        return {"error": kind, "message": (error.strerror or "a file cannot be used")[:WORDS]}
    words = str(error)
    if isinstance(error, MemoryError) or TOO_LITTLE_MEMORY.search(words):
        return {"error": "memory", "message": "it needs more memory than a conversion may take"}
    if (asked := re.search(r"GLOBAL ([\w.]+)", words)) is not None:
        return {"error": "code", "message": asked[1][:WORDS]}
    if "TorchScript" in words:
        return {"error": "contents", "message": "it is a TorchScript program, not only weights"}
    fault = f"it does not read as weights of PyTorch ({type(error).__name__})"
    return {"error": "contents", "message": f"{fault}; it may be damaged or cut short"}


def end_with_stdin() -> None:
    """A thread that waits for the end of stdin, and ends the process then."""
    import threading

    def wait() -> None:
        while sys.stdin.buffer.read(1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    # Whatever a library prints must not come between the answers.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    orders = json.loads(sys.stdin.buffer.readline())
    end_with_stdin()
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    from onebox.services.pickles import weights

    def say(answer: Mapping[str, Any]) -> None:
        out.write(json.dumps(answer).encode("ascii") + b"\n")

    warm_up()
    source = weights.Source(io.FileIO(orders["source"]))
    with Path(orders["target"]).open("xb") as target:
        shut(orders)
        say({"fraction": 0.0})
        try:
            weights.convert(source, target, orders, say)
        except Exception as error:  # a file can be wrong in every way that Python has
            say(answer_to(error))
    # Without waiting for the thread that listens for the parent.
    os._exit(0)


if __name__ == "__main__":
    main()
