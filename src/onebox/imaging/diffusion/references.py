"""Pictures that a model looks at while it draws another, joined to one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# What models that look at pictures were trained with; more costs time and helps nothing.
MAX_PIXELS = 1024 * 1024
# What they refuse: smaller sides, and longer shapes.
MIN_SIDE = 64
MAX_ASPECT = 8


def presentable(picture: Any) -> Any:
    """The Pillow RGB picture as it can be shown; what is too narrow is put on white."""
    from PIL import Image, ImageOps

    narrow = min(picture.size)
    if narrow < MIN_SIDE:
        picture = ImageOps.scale(picture, MIN_SIDE / narrow, Image.Resampling.LANCZOS)
    least = -(-max(picture.size) // MAX_ASPECT)
    if min(picture.size) >= least:
        return picture
    ground = Image.new("RGB", (max(picture.width, least), max(picture.height, least)), "white")
    ground.paste(
        picture, ((ground.width - picture.width) // 2, (ground.height - picture.height) // 2)
    )
    return ground


def side_by_side(pictures: Sequence[Any]) -> Any:
    """One Pillow RGB picture of all, from left to right at one height; made smaller if too large.

    A single picture that can be shown stays as it is.
    """
    from PIL import Image

    shown = [presentable(picture) for picture in pictures]
    height = max(picture.height for picture in shown)
    widths = [max(1, round(picture.width * height / picture.height)) for picture in shown]
    scale = min(1.0, (MAX_PIXELS / (height * sum(widths))) ** 0.5)
    height = int(height * scale)
    widths = [int(width * scale) for width in widths]
    joined = Image.new("RGB", (sum(widths), height))
    left = 0
    for picture, width in zip(shown, widths, strict=True):
        size = (width, height)
        fitted = picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)
        joined.paste(fitted, (left, 0))
        left += width
    return joined
