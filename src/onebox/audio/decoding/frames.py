"""What goes over the pipes between the decoder's parent and child.

To the child: one JSON line of orders, the upload's bytes, then `GO` when it should decode. From it:
frames of a kind (one byte), a length (4 bytes) and a payload. The parent trusts none of them.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from onebox.audio.windows import MAX_SAMPLES, SAMPLING_RATE, Window

GO = b"g"
READY = b"r"  # It has started; nothing.
PROBED = b"p"  # The length in seconds.
PROGRESS = b"s"  # Seconds decoded so far.
WINDOW = b"w"
ENDED = b"e"  # Seconds decoded in all.
LONG = b"l"  # More than so many seconds.
SILENT = b"n"  # There is no sound in the file; words for the log.
BROKEN = b"b"  # It cannot be decoded; words for the log.
KINDS = frozenset((READY, PROBED, PROGRESS, WINDOW, ENDED, LONG, SILENT, BROKEN))

_HEAD = struct.Struct("<cI")
_WINDOW_HEAD = struct.Struct("<QH")
_STRETCH = struct.Struct("<II")
_SECONDS = struct.Struct("<d")
_MAX_STRETCHES = 1000
_MAX_PAYLOAD = _WINDOW_HEAD.size + _MAX_STRETCHES * _STRETCH.size + 2 * MAX_SAMPLES


class BadFrame(Exception):
    """The child said something that it never should."""


@dataclass(frozen=True, slots=True)
class RawWindow:
    """A window in samples from the beginning of the file.

    Attributes:
        speech: stretches, from the window's first sample.
        samples: int16, little-endian.
    """

    start: int
    speech: tuple[tuple[int, int], ...]
    samples: bytes


def write(pipe: BinaryIO, kind: bytes, payload: bytes = b"") -> None:
    pipe.write(_HEAD.pack(kind, len(payload)) + payload)
    pipe.flush()


def read(pipe: BinaryIO) -> tuple[bytes, bytes] | None:
    """The next kind and payload; None at the end of the pipe. Raises BadFrame."""
    head = pipe.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    kind, length = _HEAD.unpack(head)
    if kind not in KINDS or length > _MAX_PAYLOAD:
        raise BadFrame(f"a frame of kind {kind!r} and {length} bytes")
    payload = pipe.read(length)
    return (kind, payload) if len(payload) == length else None


def seconds(value: float) -> bytes:
    return _SECONDS.pack(value)


def read_seconds(payload: bytes) -> float:
    """Raises BadFrame."""
    if len(payload) != _SECONDS.size:
        raise BadFrame("a number of a wrong size")
    (value,) = _SECONDS.unpack(payload)
    if not 0 <= value < 1e9:
        raise BadFrame(f"{value} seconds")
    return float(value)


def pack_window(window: RawWindow) -> bytes:
    stretches = window.speech[:_MAX_STRETCHES]
    head = _WINDOW_HEAD.pack(window.start, len(stretches))
    return head + b"".join(_STRETCH.pack(*run) for run in stretches) + window.samples


def read_window(payload: bytes) -> RawWindow:
    """Raises BadFrame."""
    try:
        start, count = _WINDOW_HEAD.unpack_from(payload)
        at = _WINDOW_HEAD.size
        speech = tuple(_STRETCH.unpack_from(payload, at + n * _STRETCH.size) for n in range(count))
    except struct.error as error:
        raise BadFrame(str(error)) from None
    samples = payload[at + count * _STRETCH.size :]
    length = len(samples) // 2
    if len(samples) % 2 or not 0 < length <= MAX_SAMPLES:
        raise BadFrame(f"a window of {len(samples)} bytes")
    if any(not 0 <= first <= last <= length for first, last in speech):
        raise BadFrame("speech outside of its window")
    return RawWindow(start, speech, samples)


def to_window(raw: RawWindow, index: int) -> Window:
    import numpy as np

    return Window(
        index=index,
        start_s=raw.start / SAMPLING_RATE,
        samples=np.frombuffer(raw.samples, "<i2").astype(np.int16, copy=False),
        speech=tuple((first / SAMPLING_RATE, last / SAMPLING_RATE) for first, last in raw.speech),
    )


def orders(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values).encode("ascii") + b"\n"


def read_orders(pipe: BinaryIO) -> dict[str, Any] | None:
    """None if the parent has gone."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    values: dict[str, Any] = json.loads(line)
    return values
