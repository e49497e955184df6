"""Task `inpainting` on tiny models: what is drawn anew, and that nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.tasks.inpainting import Inpainting
from tests.families import drawing
from tests.families.tiny_pipelines import Shelf

TASK = Inpainting()
ODD = (101, 77)


def white_square(size: tuple[int, int]) -> Any:
    from PIL import Image

    mask = Image.new("L", size)
    mask.paste(255, (30, 20, 70, 60))
    return mask


def transparent_square(picture: Any) -> Any:
    from PIL import ImageOps

    layer = picture.convert("RGBA")
    layer.putalpha(ImageOps.invert(white_square(picture.size)))
    return layer


@pytest.fixture
def sd(shelf: Shelf) -> PipelineBundle:
    return shelf.bundle("sd")


def inpaint(shelf: Shelf, model: str = "sd", **fields: Any) -> np.ndarray:
    (drawn,) = drawing.run(TASK, shelf.bundle(model), shelf.path(model), **fields)
    return drawn


@pytest.mark.parametrize("model", ["sd", "sd-inpaint", "sdxl", "sd3", "flux", "flux-fill"])
def test_pixels_outside_the_mask_are_those_that_were_sent(shelf: Shelf, model: str) -> None:
    picture = drawing.noise(1, ODD)
    drawn = inpaint(
        shelf,
        model,
        image=drawing.media(picture),
        mask=drawing.media(white_square(ODD)),
        mask_mode="luminance",
    )
    before, changed = np.asarray(picture), np.asarray(white_square(ODD)) > 0
    assert drawn.shape == before.shape
    assert np.array_equal(drawn[~changed], before[~changed])
    assert (drawn[changed] != before[changed]).any(axis=1).mean() > 0.9


def test_a_large_picture_is_drawn_small_and_keeps_its_pixels(shelf: Shelf) -> None:
    size = (400, 300)
    picture = drawing.noise(2, size)
    fields = {"image": drawing.media(picture), "mask": drawing.media(white_square(size))}
    request = drawing.resolved(TASK, shelf.path("sd"), mask_mode="luminance", **fields)
    assert (request.width, request.height) == (72, 64)
    drawn = inpaint(shelf, mask_mode="luminance", **fields)
    outside = np.asarray(white_square(size)) == 0
    assert np.array_equal(drawn[outside], np.asarray(picture)[outside])


def test_transparent_means_edit_unless_luminance_is_said(shelf: Shelf) -> None:
    picture = drawing.noise(3)
    layer = transparent_square(picture)
    by_alpha = inpaint(shelf, image=drawing.media(picture), mask=drawing.media(layer), feather=0)
    by_white = inpaint(
        shelf,
        image=drawing.media(picture),
        mask=drawing.media(white_square((64, 64))),
        mask_mode="luminance",
        feather=0,
    )
    assert np.array_equal(by_alpha, by_white)


def test_without_a_mask_the_pictures_own_transparency_is_drawn_over(shelf: Shelf) -> None:
    picture = drawing.noise(4)
    drawn = inpaint(shelf, image=drawing.media(transparent_square(picture)))
    outside = np.asarray(white_square((64, 64))) == 0
    assert drawn.shape == (64, 64, 3)
    assert np.array_equal(drawn[outside], np.asarray(picture)[outside])


def test_a_picture_that_is_partly_transparent_stays_so_outside_the_mask(shelf: Shelf) -> None:
    layer = drawing.noise(5).convert("RGBA")
    layer.putpixel((0, 0), (1, 2, 3, 0))
    layer.putpixel((1, 0), (4, 5, 6, 99))
    drawn = inpaint(
        shelf,
        image=drawing.media(layer),
        mask=drawing.media(drawing.half_mask()),
        mask_mode="luminance",
    )
    assert np.array_equal(drawn[:, :32], np.asarray(layer)[:, :32])
    assert (drawn[:, 60:, 3] == 255).all()


def test_with_nothing_preserved_the_drawing_comes_as_it_is(shelf: Shelf) -> None:
    fields = {
        "image": drawing.media(drawing.noise(6, ODD)),
        "mask": drawing.media(white_square(ODD)),
        "mask_mode": "luminance",
    }
    drawn = inpaint(shelf, preserve_unmasked=False, **fields)
    assert drawn.shape == (64, 72, 3)
    assert drawn.shape == inpaint(shelf, preserve_unmasked=False, feather=9, **fields).shape


def test_a_size_is_taken_as_an_area_where_the_picture_is_preserved(shelf: Shelf) -> None:
    fields = {
        "image": drawing.media(drawing.noise(7, (200, 100))),
        "mask": drawing.media(white_square((200, 100))),
        "mask_mode": "luminance",
        "width": 128,
        "height": 128,
    }
    kept = drawing.resolved(TASK, shelf.path("sd"), **fields)
    assert (kept.width, kept.height) == (184, 88)
    free = drawing.resolved(TASK, shelf.path("sd"), preserve_unmasked=False, **fields)
    assert (free.width, free.height) == (128, 128)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mask_mode": "alpha"}, "mask"),
        ({"mask": b"no picture", "mask_mode": "luminance"}, "mask"),
        ({"strength": 0.1, "mask_mode": "luminance"}, "strength"),
        ({"image": b"no picture"}, "image"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(
    shelf: Shelf, fields: dict[str, Any], param: str
) -> None:
    picture, mask = drawing.noise(8), white_square((64, 64))
    given = {"image": drawing.media(picture), "mask": drawing.media(mask), **fields}
    with pytest.raises(InvalidInput) as caught:
        inpaint(shelf, **given)
    assert caught.value.param == param


def test_strength_says_how_much_of_what_was_there_is_left(shelf: Shelf) -> None:
    picture = drawing.plain((250, 20, 20))
    fields = {
        "image": drawing.media(picture),
        "mask": drawing.media(white_square((64, 64))),
        "mask_mode": "luminance",
        "steps": 10,
        "preserve_unmasked": False,
    }
    drawn = [inpaint(shelf, strength=strength, **fields) for strength in (0.2, 1.0)]
    assert not np.array_equal(*drawn)
