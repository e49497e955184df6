"""How a picture's file is built, looked at before a decoder does.

A small file can keep a decoder busy for hours: millions of empty chunks, of which WebP keeps a list
in memory, or a thousand passes over all of its pixels. Pillow counts neither.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

# Chunks or segments: a large PNG file has some thousands.
MAX_PARTS = 20_000
# Passes over a progressive JPEG; encoders make about ten.
MAX_SCANS = 100

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_PART = struct.Struct(">I4s")
_RIFF, _RIFF_HEAD = b"RIFF", 12
_RIFF_PART = struct.Struct("<4sI")
_LENGTH = struct.Struct(">H")
_SCAN, _END = 0xDA, 0xD9
# Markers without a length: restarts, and one for arithmetic coding.
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
# The end of a scan's data, where a byte 0xFF is followed by 0 or a restart's number.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def is_endless(raw: bytes) -> bool:
    """Whether there is too much to walk through: a PNG's or WebP's chunks, a JPEG's segments."""
    parts: Iterator[object] = iter(())
    if raw.startswith(_PNG):
        parts = _chunks(raw)
    elif raw.startswith(_RIFF):
        parts = _riff_chunks(raw)
    elif raw.startswith(_JPEG):
        parts = _headers(raw)
    return sum(1 for _, _ in zip(range(MAX_PARTS + 1), parts, strict=False)) > MAX_PARTS


def has_too_many_scans(raw: bytes) -> bool:
    """Whether a JPEG goes over its pixels so often that decoding would hardly end."""
    if not raw.startswith(_JPEG):
        return False
    scans = 0
    at = next((place for place, kind in _headers(raw) if kind == _SCAN), None)
    while at is not None and scans <= MAX_SCANS:
        marker = _MARKER.search(raw, at)
        if marker is None or raw[marker.start() + 1] == _END:
            break
        scans += raw[marker.start() + 1] == _SCAN
        at = _behind(raw, marker.end())
    return scans > MAX_SCANS


def _chunks(raw: bytes) -> Iterator[bytes]:
    at = len(_PNG)
    while at + _PART.size <= len(raw):
        length, kind = _PART.unpack_from(raw, at)
        yield kind
        at += _PART.size + length + 4


def _riff_chunks(raw: bytes) -> Iterator[bytes]:
    """Those of a WebP file; the frames of an animation are one each."""
    at = _RIFF_HEAD
    while at + _RIFF_PART.size <= len(raw):
        kind, length = _RIFF_PART.unpack_from(raw, at)
        yield kind
        at += _RIFF_PART.size + length + length % 2


def _headers(raw: bytes) -> Iterator[tuple[int, int | None]]:
    """(place, marker) of what stands before a JPEG's first scan, and of that.

    A byte that fills up, or that has no business there, has no marker.
    """
    at = len(_JPEG)
    while at + 1 < len(raw):
        kind = raw[at + 1] if raw[at] == 0xFF and raw[at + 1] != 0xFF else None
        yield at, kind
        if kind == _SCAN:
            return
        if kind is None:
            at += 1
        else:
            at = at + 2 if kind in _BARE else _behind(raw, at + 2)


def _behind(raw: bytes, at: int) -> int:
    """Where a segment ends whose length stands here."""
    if at + _LENGTH.size > len(raw):
        return len(raw)
    return at + max(int(_LENGTH.unpack_from(raw, at)[0]), _LENGTH.size)
