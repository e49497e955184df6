"""Pictures on their way to and from other servers: what they are comes from their bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact

FORMATS = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
# More than any size that can be asked for here.
MAX_PIXELS = 256 * 1024 * 1024
MAX_MASK_PIXELS = 64 * 1024 * 1024
MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"RIFF", "image/webp"),
)


def picture_artifact(data: bytes, about: Mapping[str, Any]) -> Artifact | None:
    """With its size, which its header tells; None for what is no picture. Reads headers alone."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data), formats=tuple(FORMATS)) as picture:
            width, height = picture.size
            media_type = FORMATS[picture.format or ""]
    except (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError):
        return None
    if width * height > MAX_PIXELS:
        return None
    told = {name: value for name, value in about.items() if value is not None}
    return Artifact(media_type, data, None, {**told, "width": width, "height": height})


def media_type_of(media: Mapping[str, Any]) -> str:
    """Of a picture that a client sent."""
    data: bytes = media["data"]
    return next((kind for magic, kind in MAGIC if data.startswith(magic)), media["media_type"])


def data_url(media: Mapping[str, Any]) -> str:
    return f"data:{media_type_of(media)};base64,{base64.b64encode(media['data']).decode()}"


def file_of(media: Mapping[str, Any], name: str) -> tuple[str, bytes, str]:
    """As a part of a form."""
    media_type = media_type_of(media)
    return f"{name}.{media_type.rpartition('/')[2]}", media["data"], media_type


def alpha_as_white(mask: bytes) -> bytes:
    """A mask that is transparent where the picture is to change, as one that is white there.

    Raises InvalidInput.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(mask), formats=tuple(FORMATS)) as picture:
            if picture.width * picture.height > MAX_MASK_PIXELS:
                raise InvalidInput("the mask has too many pixels", param="mask")
            hole = ImageOps.invert(picture.convert("RGBA").getchannel("A"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise InvalidInput("the mask is no picture that can be read", param="mask") from None
    buffer = io.BytesIO()
    hole.save(buffer, "PNG")
    return buffer.getvalue()
