"""A product cut out, put on a canvas, and joined with another background."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from onebox.imaging.composition import composed, ground_shadow, on_background
from onebox.imaging.layout import Box, Wishes, lay_out
from onebox.imaging.mattes import product_box

SIZE = (120, 90)
GREEN = Image.new("RGB", SIZE, (20, 160, 60))


def photo() -> Image.Image:
    """Noise: every pixel that moved or changed is seen."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def matte(box: tuple[int, int, int, int] = (30, 20, 70, 80), blur: float = 0) -> Image.Image:
    from PIL import ImageFilter

    picture = Image.new("L", SIZE)
    ImageDraw.Draw(picture).ellipse(box, fill=255)
    return picture.filter(ImageFilter.GaussianBlur(blur)) if blur else picture


def made(drawn: Any = GREEN, *, of: Any = None, shadow: float = 0.0, **wishes: Any) -> Image.Image:
    cut = matte() if of is None else of
    layout = lay_out(SIZE, product_box(cut, "image"), Wishes(**wishes))
    return on_background(composed(photo(), cut, layout), drawn, shadow)


def test_the_product_keeps_its_pixels_and_the_rest_is_the_background():
    result, solid = np.asarray(made()), np.asarray(matte()) == 255
    assert np.array_equal(result[solid], np.asarray(photo())[solid])
    assert (result[~solid] == (20, 160, 60)).all()


def test_a_product_that_moves_without_scaling_keeps_its_pixels():
    result = np.asarray(made(GREEN, position="top-left"))
    box = product_box(matte(), "image")
    solid = np.asarray(matte().crop(box.corners)) == 255
    before = np.asarray(photo().crop(box.corners))
    moved = result[: box.height, : box.width]
    assert np.array_equal(moved[solid], before[solid])
    assert (result[:, box.width :] == (20, 160, 60)).all()


def test_a_background_of_another_size_is_made_the_size_of_the_canvas():
    assert made(GREEN.resize((64, 64)), aspect_ratio="1:1").size == (120, 120)


def test_soft_edges_mix_the_product_with_the_background_alone():
    white = Image.new("RGB", SIZE, "white")
    soft = matte(blur=3)
    layout = lay_out(SIZE, product_box(soft, "image"), Wishes(position="right"))
    result = on_background(composed(Image.new("RGB", SIZE), soft, layout), white)
    alpha = np.asarray(composed(white, soft, layout).alpha).astype(int)
    # Black on white: nothing of the grey that the canvas is made of shows.
    assert np.abs(np.asarray(result)[..., 0].astype(int) - (255 - alpha)).max() <= 1


def test_what_is_to_be_drawn_is_all_but_the_product():
    layout = lay_out(SIZE, product_box(matte(), "image"), Wishes())
    to_draw = composed(photo(), matte(), layout).to_draw
    assert np.array_equal(np.asarray(to_draw), 255 - np.asarray(matte()))


def test_drawing_starts_from_the_photo_where_the_product_stays_in_its_place():
    box = product_box(matte(), "image")
    stays = composed(photo(), matte(), lay_out(SIZE, box, Wishes()))
    moves = composed(photo(), matte(), lay_out(SIZE, box, Wishes(position="left")))
    assert np.array_equal(np.asarray(stays.start), np.asarray(photo()))
    assert moves.start.getpixel((119, 45)) == (127, 127, 127)


def test_a_shadow_darkens_the_ground_under_the_product_and_nothing_of_the_product():
    plain, shaded = np.asarray(made()).astype(int), np.asarray(made(shadow=0.6)).astype(int)
    solid = np.asarray(matte()) == 255
    assert np.array_equal(plain[solid], shaded[solid])
    darker = (plain - shaded).sum(axis=2)
    assert (darker >= 0).all()
    below = darker[81:86, 40:60].mean()
    assert below > 20
    assert below > 4 * darker[:40].max()


def test_a_shadow_is_low_and_reaches_out_under_the_product_alone():
    layout = lay_out(SIZE, product_box(matte(), "image"), Wishes())
    shadow = np.asarray(ground_shadow(composed(photo(), matte(), layout)))
    rows, columns = np.nonzero(shadow > 64)
    assert rows.min() > 50
    assert 80 < rows.max() < 86
    assert abs(columns.mean() - 50) < 1


def test_a_product_that_is_one_pixel_high_can_be_placed():
    box = Box(10, 10, 100, 1)
    strip = Image.new("L", SIZE)
    strip.paste(255, box.corners)
    composition = composed(photo(), strip, lay_out(SIZE, box, Wishes(size=(64, 64))))
    assert on_background(composition, GREEN, 0.5).size == (64, 64)
