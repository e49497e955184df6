"""Thumbnails and sprite sheets of clips."""

from __future__ import annotations

import numpy as np
import pytest

from onebox.core.clips import Clip
from onebox.imaging.video.stills import CELL_SIDE, THUMBNAIL_SIDE, sprite_sheet, thumbnail


def clip(frames: int, width: int = 80, height: int = 40) -> Clip:
    """Each frame is as bright as its number."""
    made = np.zeros((frames, height, width, 3), np.uint8)
    made[:] = np.arange(frames)[:, None, None, None]
    return Clip([made[at : at + 5] for at in range(0, frames, 5)], 8)


@pytest.mark.parametrize(("frames", "middle"), [(1, 0), (2, 1), (9, 4), (121, 60)])
def test_a_thumbnail_is_the_frame_in_the_middle(frames: int, middle: int) -> None:
    picture = thumbnail(clip(frames))
    assert picture.mode == "RGB"
    assert picture.size == (80, 40)
    assert picture.getpixel((0, 0)) == (middle,) * 3


def test_a_thumbnail_of_a_large_clip_is_small_and_of_its_shape() -> None:
    assert thumbnail(clip(3, 1280, 720)).size == (THUMBNAIL_SIDE, THUMBNAIL_SIDE * 9 // 16)


@pytest.mark.parametrize(
    ("frames", "columns", "rows", "numbers"),
    [
        (1, 1, 1, [0]),
        (2, 2, 1, [0, 1]),
        (9, 3, 3, list(range(9))),
        (11, 4, 3, list(range(11))),
        (25, 5, 5, list(range(25))),
        (121, 5, 5, [n * 5 for n in range(25)]),
        (100, 5, 5, [n * 99 // 24 for n in range(25)]),
    ],
)
def test_a_sheet_shows_frames_from_the_first_to_the_last(
    frames: int, columns: int, rows: int, numbers: list[int]
) -> None:
    sheet = sprite_sheet(clip(frames))
    assert (sheet.columns, sheet.rows, sheet.frames) == (columns, rows, len(numbers))
    assert sheet.picture.size == (columns * 80, rows * 40)
    shown = [
        sheet.picture.getpixel((cell % columns * 80 + 40, cell // columns * 40 + 20))[0]
        for cell in range(columns * rows)
    ]
    assert shown == numbers + [0] * (columns * rows - len(numbers))


def test_the_cells_of_a_sheet_are_small_and_of_the_clips_shape() -> None:
    sheet = sprite_sheet(clip(4, 320, 640))
    assert sheet.picture.size == (2 * CELL_SIDE // 2, 2 * CELL_SIDE)
