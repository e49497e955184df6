"""Picture files for tests, good and odd."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

from PIL import Image

ORIENTATION = 0x0112


def picture(mode: str = "RGB", size: tuple[int, int] = (50, 40)) -> Image.Image:
    """No two of its corners are alike."""
    width, height = size
    grey = Image.linear_gradient("L").resize(size)
    across = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(size)
    return Image.merge("RGB", (grey, across, Image.new("L", (width, height), 60))).convert(mode)


def file_of(image: Image.Image, kind: str = "PNG", **how: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **how)
    return file.getvalue()


def turned(number: int, kind: str = "JPEG") -> bytes:
    """The picture as a camera held another way writes it: EXIF tells how to turn it back."""
    exif = Image.Exif()
    exif[ORIENTATION] = number
    return file_of(picture(), kind, exif=exif)


def animated(kind: str, frames: int = 3) -> bytes:
    others = [Image.new("RGB", (50, 40), (90 * n, 0, 0)) for n in range(1, frames)]
    return file_of(picture(), kind, save_all=True, append_images=others)


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(name + data))
    return struct.pack(">I", len(data)) + name + data + checksum


def png(
    size: tuple[int, int], depth: int, colour: int, row: bytes = b"", *extra: tuple[bytes, bytes]
) -> bytes:
    """A PNG file by hand: of as many bits as wanted, with equal rows and further chunks."""
    width, height = size
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    rows = zlib.compress((b"\0" + row) * height) if row else b""
    body = b"".join(chunk(*one) for one in extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body
