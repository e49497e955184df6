"""The part of a picture around its mask: drawn by itself it has all of a model's pixels."""

from __future__ import annotations

from typing import Any

from onebox.imaging.layout import Box
from onebox.imaging.masks import pasted

# Of the masked part's longer side, what is shown of the picture on each side of it; and pixels that
# it is at least: a model goes by what lies around.
PADDING = 1 / 4
LEAST_PADDING = 32


def around(mask: Any, padding: int | None) -> Box:
    """The smallest box of the picture's shape that holds the mask and what surrounds it.

    It has that shape so that it may be drawn in the size that suits the whole picture.

    Args:
        mask: Pillow L, not 0 somewhere.
        padding: pixels on each side, as far as there are some; None: what suits the mask.
    """
    left, top, right, bottom = mask.getbbox()
    if padding is None:
        padding = max(LEAST_PADDING, round(max(right - left, bottom - top) * PADDING))
    # What the box needs of the picture's sides, each from 0 to the whole of it.
    edges = ((left, right), (top, bottom))
    needed = [
        (min(length, end + padding) - max(0, start - padding)) / length
        for (start, end), length in zip(edges, mask.size, strict=True)
    ]
    width, height = (min(length, round(length * max(needed))) for length in mask.size)
    left, top = (
        min(max(0, (start + end - side) // 2), length - side)
        for (start, end), side, length in zip(edges, (width, height), mask.size, strict=True)
    )
    return Box(left, top, width, height)


def put_back(whole: Any, drawn: Any, box: Box, rim: Any) -> Any:
    """The picture with the drawing of a part of it in its place, as far as the rim says.

    Args:
        whole: Pillow RGB or RGBA; what `rim` has 0 for stays as it is, bit for bit.
        drawn: of any size; it is made the box's.
        rim: Pillow L of the picture's size.
    """
    part = pasted(whole.crop(box.corners), drawn, rim.crop(box.corners))
    result = whole.copy()
    result.paste(part, (box.left, box.top))
    return result
