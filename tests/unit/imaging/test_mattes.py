"""Mattes of models, masks and alpha channels, and the edges of what they cut out."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from onebox.core.errors import InvalidInput
from onebox.imaging.mattes import (
    FAINT,
    decontaminated,
    hardened,
    matte_of,
    matte_of_alpha,
    matte_of_mask,
    product_box,
)

SIZE = (120, 90)


def file(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def matte(blur: float = 0) -> Image.Image:
    picture = Image.new("L", SIZE)
    ImageDraw.Draw(picture).ellipse((30, 20, 70, 80), fill=255)
    return picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture


def test_a_matte_of_another_size_is_made_the_photos():
    small = matte().resize((60, 45))
    read = matte_of(file(small), SIZE, "matte")
    assert (read.mode, read.size) == ("L", SIZE)
    assert (read.getpixel((50, 50)), read.getpixel((5, 5))) == (255, 0)


def test_a_matte_of_another_shape_is_refused():
    with pytest.raises(InvalidInput, match="another shape") as caught:
        matte_of(file(matte().transpose(Image.Transpose.ROTATE_90)), SIZE, "matte")
    assert caught.value.param == "matte"


def test_what_is_hardly_to_be_seen_of_an_alpha_channel_belongs_to_the_product():
    # A vase of glass with a shadow beside it.
    glass = Image.new("L", SIZE)
    glass.paste(90, (30, 20, 60, 70))
    glass.paste(20, (60, 60, 100, 70))
    box = product_box(glass, "image", FAINT)
    assert box.corners == (26, 16, 104, 74)
    with pytest.raises(InvalidInput, match="no product"):
        product_box(glass, "image")


@pytest.mark.parametrize("mode", ["alpha", "luminance"])
def test_the_product_is_what_a_mask_keeps(mode: Any):
    keep = Image.eval(matte(), lambda value: 255 - value)
    if mode == "alpha":
        keep = Image.merge("RGBA", [*Image.new("RGB", SIZE).split(), matte()])
    made = np.asarray(matte_of_mask(file(keep), SIZE, mode, "mask"))
    solid = np.asarray(matte()) == 255
    assert (made[solid] == 255).all()
    rim = (made > 0) & ~solid
    assert 0 < rim.sum() < solid.sum() / 2


def test_an_alpha_channel_is_taken_as_it_is():
    photo = Image.merge("RGBA", [*Image.new("RGB", SIZE, "red").split(), matte(blur=2)])
    assert np.array_equal(np.asarray(matte_of_alpha(photo, "image")), np.asarray(matte(blur=2)))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_alpha_that_tells_nothing_is_refused_with_the_remedy(mode: str):
    with pytest.raises(InvalidInput, match="cut=model") as caught:
        matte_of_alpha(Image.new(mode, SIZE, "red"), "image")
    assert caught.value.param == "image"


def test_colours_spread_into_the_clear_alone_leave_soft_edges_as_they_are():
    soft = matte(blur=2)
    photo = Image.composite(Image.new("RGB", SIZE, "red"), Image.new("RGB", SIZE), soft)
    spread = np.asarray(decontaminated(photo, soft, below=1))
    some = np.asarray(soft) > 0
    assert np.array_equal(spread[some], np.asarray(photo)[some])
    assert (spread[~some][:, 0] > 128).any()


def test_a_matte_that_is_nearly_certain_counts_as_certain():
    values = hardened(Image.fromarray(np.arange(256, dtype=np.uint8)[None]))
    levels = np.asarray(values)[0].tolist()
    assert levels[:14] == [0] * 14
    assert levels[242:] == [255] * 14
    assert levels == sorted(levels)


def test_the_box_of_a_product_holds_its_soft_edges_and_no_distant_specks():
    cut = matte(blur=1.5)
    cut.putpixel((2, 2), 100)
    box = product_box(cut, "image")
    left, top, right, bottom = box.corners
    assert (left, top) > (2, 2)
    outside = np.asarray(cut).copy()
    outside[top:bottom, left:right] = 0
    outside[2, 2] = 0
    assert outside.max() == 0


@pytest.mark.parametrize("level", [0, 100])
def test_a_picture_without_a_product_is_refused_with_the_remedy(level: int):
    with pytest.raises(InvalidInput, match="no product was found") as caught:
        product_box(Image.new("L", SIZE, level), "image")
    assert caught.value.param == "image"


def test_soft_edges_take_the_colours_of_the_product_instead_of_the_old_background():
    solid, soft = matte(), hardened(matte(blur=2))
    red_on_blue = Image.composite(
        Image.new("RGB", SIZE, "red"), Image.new("RGB", SIZE, "blue"), solid
    )
    clean = np.asarray(decontaminated(red_on_blue, soft))
    alpha = np.asarray(soft)
    halo = (alpha > 60) & (alpha < 255)
    assert (np.asarray(red_on_blue)[halo][:, 2] == 255).any()
    assert (clean[halo][:, 2] < 16).all()
    certain = alpha == 255
    assert np.array_equal(clean[certain], np.asarray(red_on_blue)[certain])
