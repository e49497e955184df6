"""What is drawn when only the masked part of a picture is to be drawn, and where it goes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from onebox.imaging.layout import Box
from onebox.imaging.surroundings import LEAST_PADDING, around, put_back

SIZE = (600, 400)


def masked(*box: int, size: tuple[int, int] = SIZE) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize("padding", [0, 8, 50, 4096])
@pytest.mark.parametrize(
    "hole",
    [(300, 200, 330, 210), (0, 0, 20, 20), (580, 390, 600, 400), (290, 10, 300, 390)],
)
def test_the_box_holds_the_mask_and_lies_in_the_picture(
    hole: tuple[int, int, int, int], padding: int
) -> None:
    left, top, right, bottom = around(masked(*hole), padding).corners
    assert 0 <= left <= hole[0]
    assert 0 <= top <= hole[1]
    assert hole[2] <= right <= SIZE[0]
    assert hole[3] <= bottom <= SIZE[1]
    # What was asked for is there, but where the picture ends.
    assert left <= max(0, hole[0] - padding) or right == SIZE[0]
    assert top <= max(0, hole[1] - padding) or bottom == SIZE[1]


@pytest.mark.parametrize("hole", [(300, 200, 330, 210), (290, 10, 300, 390), (3, 3, 590, 9)])
def test_the_box_has_the_shape_of_the_picture(hole: tuple[int, int, int, int]) -> None:
    box = around(masked(*hole), 16)
    assert abs(box.width / box.height - 1.5) < 0.05


def test_a_small_mask_in_the_middle_has_a_small_box_around_it() -> None:
    assert around(masked(300, 200, 330, 220), 10) == Box(285, 190, 60, 40)


def test_by_default_more_is_shown_around_a_larger_mask() -> None:
    small, large = (around(masked(300, 200, 300 + side, 200 + side), None) for side in (8, 160))
    assert small.height == 8 + 2 * LEAST_PADDING
    assert large.height == 160 + 2 * 40


def test_a_mask_of_everything_has_the_whole_picture_around_it() -> None:
    assert around(masked(0, 0, *SIZE), None) == Box(0, 0, *SIZE)


def test_what_was_drawn_is_put_where_the_rim_says_and_nowhere_else() -> None:
    values = np.random.default_rng(1).integers(0, 255, (400, 600, 4), dtype=np.uint8)
    whole, rim = Image.fromarray(values), masked(300, 200, 330, 220)
    rim.putpixel((310, 210), 0)
    done = np.asarray(
        put_back(whole, Image.new("RGB", (96, 64), "red"), Box(285, 190, 60, 40), rim)
    )
    changed = np.asarray(rim) > 0
    assert np.array_equal(done[~changed], values[~changed])
    assert (done[changed] == (255, 0, 0, 255)).all()
