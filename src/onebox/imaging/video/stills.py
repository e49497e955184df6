"""Pictures that stand for a whole clip: one of its frames, and many of them side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from onebox.core.clips import Clip

# Sides that no picture exceeds, in pixels.
THUMBNAIL_SIDE = 512
CELL_SIDE = 160
SHEET_FRAMES = 25


@dataclass(frozen=True, slots=True)
class Sheet:
    """Frames of a clip, row by row.

    Attributes:
        picture: Pillow RGB; cells that are left over at its end are black.
        columns, rows: of cells, each as large as the others.
        frames: how many cells hold one.
    """

    picture: Any
    columns: int
    rows: int
    frames: int


def thumbnail(clip: Clip) -> Any:
    """The frame in the middle, Pillow RGB: the first is what a picture was turned into a clip
    from, or has nothing on it yet.
    """
    return _small(_frames_at(clip, [clip.frames // 2])[0], THUMBNAIL_SIDE)


def sprite_sheet(clip: Clip) -> Sheet:
    """The first frame, the last, and others at even steps between them."""
    from PIL import Image

    count = min(clip.frames, SHEET_FRAMES)
    last = max(1, count - 1)
    shown = _frames_at(clip, [n * (clip.frames - 1) // last for n in range(count)])
    cells = [_small(frame, CELL_SIDE) for frame in shown]
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    width, height = cells[0].size
    picture = Image.new("RGB", (columns * width, rows * height))
    for number, cell in enumerate(cells):
        picture.paste(cell, (number % columns * width, number // columns * height))
    return Sheet(picture, columns, rows, count)


def _frames_at(clip: Clip, numbers: list[int]) -> list[Any]:
    """In their order, which is that of the clip."""
    wanted = set(numbers)
    return [frame for number, frame in enumerate(clip) if number in wanted]


def _small(frame: Any, side: int) -> Any:
    """No larger than that, in the frame's own shape."""
    from PIL import Image

    picture = Image.fromarray(frame)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture
