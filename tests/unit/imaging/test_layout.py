"""Where a product goes: canvas, size and place, by arithmetic alone."""

from __future__ import annotations

from typing import Any

import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.layout import ANCHORS, Box, Wishes, lay_out

PHOTO = (400, 300)
PRODUCT = Box(100, 60, 120, 180)


def placed(photo: tuple[int, int] = PHOTO, product: Box = PRODUCT, **wishes: Any) -> Box:
    return lay_out(photo, product, Wishes(**wishes)).placed


def test_with_no_wishes_the_product_stays_where_it_is():
    layout = lay_out(PHOTO, PRODUCT, Wishes())
    assert (layout.size, layout.taken, layout.placed) == (PHOTO, PRODUCT, PRODUCT)
    assert not layout.is_resampled


@pytest.mark.parametrize(
    ("ratio", "size"),
    [("4:3", (400, 300)), ("1:1", (400, 400)), ("16:9", (534, 300)), ("9:16", (400, 711))],
)
def test_an_aspect_ratio_makes_the_smallest_canvas_that_holds_the_photo(
    ratio: str, size: tuple[int, int]
):
    layout = lay_out(PHOTO, PRODUCT, Wishes(aspect_ratio=ratio))
    assert layout.size == size
    assert not layout.is_resampled
    # The photo lies in the middle, and the product where it is in the photo.
    assert layout.placed.left - PRODUCT.left == pytest.approx((size[0] - 400) / 2, abs=1)
    assert layout.placed.top - PRODUCT.top == pytest.approx((size[1] - 300) / 2, abs=1)


def test_a_smaller_size_shrinks_the_product_as_it_shrinks_the_photo():
    layout = lay_out(PHOTO, PRODUCT, Wishes(size=(200, 200)))
    assert layout.size == (200, 200)
    assert layout.placed == Box(50, 55, 60, 90)
    assert layout.is_resampled


def test_a_larger_size_leaves_the_product_as_large_as_it_is():
    layout = lay_out(PHOTO, PRODUCT, Wishes(size=(1000, 800)))
    assert layout.placed == Box(400, 310, 120, 180)


def test_scale_is_the_share_of_the_picture_that_the_product_fills():
    assert placed(scale=0.5) == Box(117, 75, 100, 150)
    assert placed(scale=1.0, size=(1000, 1000)).height == 1000


def test_padding_keeps_the_edges_free_whatever_else_is_asked_for():
    for wishes in ({}, {"scale": 1.0}, {"size": (160, 100)}, {"position": "top-left"}):
        layout = lay_out(PHOTO, PRODUCT, Wishes(padding=0.25, **wishes))
        width, height = layout.size
        left, top, right, bottom = layout.placed.corners
        assert left >= width // 4
        assert top >= height // 4
        assert right <= width - width // 4
        assert bottom <= height - height // 4


@pytest.mark.parametrize("position", sorted(ANCHORS))
def test_a_position_puts_the_product_to_that_edge_of_the_free_room(position: Any):
    box = placed(padding=0.1, position=position)
    lefts = {"left": 40, "right": 400 - 40 - 120}
    tops = {"top": 30, "bottom": 300 - 30 - 180}
    horizontal = next((side for side in lefts if side in position), None)
    vertical = next((side for side in tops if side in position), None)
    assert box.left == (lefts[horizontal] if horizontal else 140)
    assert box.top == (tops[vertical] if vertical else 60)


def test_a_product_at_the_edge_of_the_photo_stays_on_the_canvas():
    box = placed(product=Box(0, 120, 200, 180), padding=0.1)
    assert box.left == 40
    assert box.top + box.height == 270


@pytest.mark.parametrize("ratio", ["16x9", "0:1", "1:0", "9:1", "-1:1", "1:1:1", ""])
def test_an_aspect_ratio_that_is_none_is_refused_by_name(ratio: str):
    with pytest.raises(InvalidInput) as caught:
        lay_out(PHOTO, PRODUCT, Wishes(aspect_ratio=ratio))
    assert caught.value.param == "aspect_ratio"


def test_a_canvas_beyond_the_limit_is_refused_with_its_size():
    with pytest.raises(InvalidInput, match="8000x64000") as caught:
        lay_out((8000, 6000), PRODUCT, Wishes(aspect_ratio="1:8"))
    assert caught.value.details["height"] == 64000


def test_a_sliver_of_a_product_keeps_at_least_a_pixel_each_way():
    box = placed(photo=(4000, 4000), product=Box(10, 10, 3900, 2), size=(64, 64))
    assert (box.width, box.height) == (62, 1)
