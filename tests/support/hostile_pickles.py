"""Pickles that would run code, and others that no honest tool writes."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any


class Call:
    """Unpickles as a call of `function` with `arguments`."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self._called = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self._called


def touching(mark: Path, how: str) -> Call:
    """Leaves `mark` behind when it is run."""
    import os

    return {
        "system": Call(os.system, f"touch {mark}"),
        "eval": Call(eval, f"open({str(mark)!r}, 'w')"),
        "open": Call(open, str(mark), "w"),
    }[how]


def plain_pickle(value: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol=protocol)


def zipped_pickle(value: Any) -> bytes:
    """In the form of `torch.save`, without its help."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("archive/data.pkl", plain_pickle(value))
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
    return raw.getvalue()


def endless_pickle(size_bytes: int) -> bytes:
    """Takes some seconds for each ten million bytes."""
    return b"\x80\x02" + b"N" * size_bytes + b"."
