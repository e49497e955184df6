from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from onebox.core.errors import InvalidInput
from onebox.imaging.masks import feathered, mask_of, pasted
from tests.unit.imaging.files import file_of, picture

SIZE = (60, 40)
HOLE = (20, 10, 40, 30)


def with_hole(size=SIZE, alpha=0):
    """Opaque, but for a hole in the middle third or so."""
    image = picture("RGBA", size)
    scale = size[0] // SIZE[0]
    image.paste((0, 0, 0, alpha), tuple(side * scale for side in HOLE))
    return image


def drawn_mask(box=HOLE, size=SIZE):
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def reads(image, mode="alpha", size=SIZE):
    return mask_of(file_of(image), size, mode, "mask")


def test_transparent_is_what_is_edited():
    assert reads(with_hole()).tobytes() == drawn_mask().tobytes()


def test_white_is_what_is_edited_when_luminance_is_asked_for():
    assert reads(drawn_mask(), "luminance").tobytes() == drawn_mask().tobytes()


def test_the_two_ways_are_opposite_for_a_picture_that_could_be_both():
    """White where it is opaque, black where it is transparent."""
    both = Image.new("RGBA", SIZE, (255, 255, 255, 255))
    both.paste((0, 0, 0, 0), HOLE)
    edited = np.asarray(reads(both, "alpha")) > 0
    white = np.asarray(reads(both, "luminance")) > 0
    assert (edited == ~white).all()


@pytest.mark.parametrize("alpha", [1, 128, 254])
def test_half_transparent_is_kept(alpha):
    image = with_hole()
    image.paste((0, 0, 0, alpha), (0, 0, 10, 10))
    assert reads(image).tobytes() == drawn_mask().tobytes()


def test_strokes_on_a_transparent_layer_are_strokes_on_black():
    layer = Image.new("RGBA", SIZE, (255, 255, 255, 0))
    layer.paste((255, 255, 255, 255), HOLE)
    assert reads(layer, "luminance").tobytes() == drawn_mask().tobytes()


@pytest.mark.parametrize("shade", [(0, 0, 0), (100, 100, 100)])
def test_shades_are_either_black_or_white(shade):
    image = drawn_mask().convert("RGB")
    image.paste(shade, (0, 0, 10, 10))
    assert reads(image, "luminance").tobytes() == drawn_mask().tobytes()


@pytest.mark.parametrize("factor", [1, 2, 5])
def test_a_mask_of_another_size_is_resized_without_new_shades(factor):
    image = with_hole((SIZE[0] * factor, SIZE[1] * factor))
    assert reads(image).tobytes() == drawn_mask().tobytes()


def test_a_mask_of_about_the_same_shape_fits():
    assert reads(with_hole((60, 41)), size=(1200, 800)).size == (1200, 800)


@pytest.mark.parametrize("size", [(40, 60), (60, 60), (60, 50)])
def test_a_mask_of_another_shape_is_refused(size):
    with pytest.raises(InvalidInput, match="the mask is 60x40 and the picture") as told:
        reads(with_hole(), size=size)
    assert told.value.param == "mask"


def test_a_mask_without_alpha_names_the_other_way():
    with pytest.raises(InvalidInput, match="mask_mode=luminance") as told:
        reads(drawn_mask())
    assert told.value.param == "mask"


@pytest.mark.parametrize(
    ("image", "mode", "remedy"),
    [
        (picture("RGBA", SIZE), "alpha", "fully transparent.*mask_mode=luminance"),
        (Image.new("L", SIZE), "luminance", "none of its pixels is white"),
    ],
)
def test_a_mask_that_edits_nothing_is_refused(image, mode, remedy):
    with pytest.raises(InvalidInput, match=f"nothing to edit: .*{remedy}"):
        reads(image, mode)


def test_a_stroke_that_resizing_loses_edits_nothing():
    image = picture("RGBA", (600, 400))
    image.putpixel((1, 1), (0, 0, 0, 0))
    with pytest.raises(InvalidInput, match="nothing to edit"):
        reads(image)


@pytest.mark.parametrize("radius", [0, 1, 4, 9, 30])
def test_a_soft_rim_lies_inside_the_mask_and_its_middle_is_whole(radius):
    mask = drawn_mask()
    hard, soft = np.asarray(mask), np.asarray(feathered(mask, radius))
    assert (soft[hard == 0] == 0).all()
    assert (soft[hard == 255] > 0).all()
    assert soft[20, 30] == 255
    row = soft[20, 20:31].astype(int)
    assert (np.diff(row) >= 0).all()
    if radius == 4:
        assert row.tolist() == [51, 102, 153, 204] + [255] * 7


@pytest.mark.parametrize("radius", [1, 3, 256])
def test_the_rim_of_any_mask_counts_the_steps_to_the_outside(radius):
    """By the definition, pixel by pixel: deeper by one for each, as deep as it gets nearby."""
    inside = np.random.default_rng(7).random((40, 60)) > 0.01
    rows, columns = np.indices(inside.shape)
    steps = [
        np.maximum(abs(rows - row), abs(columns - column)) for row, column in np.argwhere(~inside)
    ]
    depth = np.minimum.reduce([*steps, np.full(inside.shape, radius + 1)])
    window = [slice(max(0, at - radius), at + radius + 1) for at in range(60)]
    deepest = np.array([[depth[window[y], window[x]].max() for x in range(60)] for y in range(40)])
    soft = np.asarray(feathered(Image.fromarray(inside.astype(np.uint8) * 255), radius))
    assert (soft == np.rint(depth * 255.0 / deepest)).all()


def test_thin_strokes_are_edited_too():
    mask = Image.new("L", (200, 100))
    ImageDraw.Draw(mask).line((20, 50, 180, 50), fill=255, width=3)
    soft = np.asarray(feathered(mask, 16))
    assert soft[50, 100] == 255
    assert 0 < soft[49, 100] < 255
    assert (soft[np.asarray(mask) == 0] == 0).all()


def test_the_border_of_the_picture_is_no_rim():
    soft = np.asarray(feathered(drawn_mask((0, 0, 30, 40)), 5))
    assert (soft[:, :25] == 255).all()
    assert (soft[:, 29] == 42).all()


@pytest.mark.parametrize("mask", [Image.new("L", SIZE), Image.new("L", SIZE, 255)])
def test_a_mask_without_a_rim_stays_as_it_is(mask):
    assert feathered(mask, 8).tobytes() == mask.tobytes()


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("drawn_size", [SIZE, (32, 24)])
def test_outside_the_mask_the_original_stays_bit_for_bit(mode, drawn_size):
    original = picture(mode, SIZE)
    mask = feathered(drawn_mask(), 4)
    result = pasted(original, Image.new("RGB", drawn_size, (1, 2, 3)), mask)
    kept = np.asarray(mask) == 0
    assert (result.mode, result.size) == (mode, SIZE)
    assert (np.asarray(result)[kept] == np.asarray(original)[kept]).all()
    assert (np.asarray(result)[np.asarray(mask) == 255][:, :3] == (1, 2, 3)).all()


def test_a_hole_that_is_filled_is_opaque():
    result = pasted(with_hole(), Image.new("RGB", SIZE, (1, 2, 3)), drawn_mask())
    assert result.getpixel((30, 20)) == (1, 2, 3, 255)


def test_the_result_keeps_the_colour_profile_of_the_original():
    original = picture("RGB", SIZE)
    original.info = {"icc_profile": b"profile"}
    assert pasted(original, picture("RGB", SIZE), drawn_mask()).info == original.info
