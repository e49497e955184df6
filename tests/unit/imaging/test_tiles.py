"""Large pictures in tiles, and put together again."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from onebox.imaging.tiles import corners, cut, joined


def gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width, dtype=np.uint8)
    values = np.broadcast_to(across[None, :, None], (height, width, 3))
    return Image.fromarray(np.ascontiguousarray(values))


def test_a_picture_of_one_tile_is_one_tile() -> None:
    assert corners((64, 48), (64, 48), 16) == [(0, 0)]


@pytest.mark.parametrize("size", [(100, 64), (257, 300), (64, 1000)])
def test_tiles_cover_a_picture_and_overlap(size: tuple[int, int]) -> None:
    places = corners(size, (64, 64), 16)
    for axis in (0, 1):
        starts = sorted({place[axis] for place in places})
        assert starts[0] == 0
        assert starts[-1] == size[axis] - 64
        assert all(later - earlier <= 64 - 16 for earlier, later in pairwise(starts))
    assert len(places) == len(set(places))


def test_tiles_come_row_by_row() -> None:
    assert corners((112, 112), (64, 64), 16) == [(0, 0), (48, 0), (0, 48), (48, 48)]


def test_what_was_cut_is_put_together_again() -> None:
    picture = gradient(150, 130)
    places = corners(picture.size, (64, 64), 16)
    tiles = [cut(picture, place, (64, 64)) for place in places]
    again = joined(tiles, places, picture.size)
    assert np.abs(np.asarray(again).astype(int) - np.asarray(picture)).max() <= 1


def test_tiles_that_differ_fade_into_each_other() -> None:
    tiles = [Image.new("RGB", (64, 64), colour) for colour in ("black", "white")]
    row = np.asarray(joined(tiles, [(0, 0), (48, 0)], (112, 64)))[0, :, 0].astype(int)
    assert (row[:48] == 0).all()
    assert (row[64:] == 255).all()
    assert (np.diff(row[49:63]) > 0).all()
    # Without a kink where the overlap begins and ends, and without a step anywhere.
    assert np.abs(np.diff(row, n=2)).max() <= 8
    assert np.diff(row).max() <= 40


def test_no_edge_of_a_tile_is_to_be_seen() -> None:
    """Of tiles that differ in shade, neighbours differ by a small part of that."""
    places = corners((160, 160), (64, 64), 16)
    tiles = [Image.new("RGB", (64, 64), (25 * number,) * 3) for number in range(len(places))]
    values = np.asarray(joined(tiles, places, (160, 160)))[:, :, 0].astype(int)
    for axis, step in ((1, 25), (0, 75)):
        assert np.abs(np.diff(values, axis=axis)).max() <= step / 6 + 1
