"""Task `inpainting` on tiny models: what is drawn anew, and that nothing else changes."""

from __future__ import annotations

import functools
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
NOISE = drawing.noise(1)


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
        ({"mask_mode": "luminance", "inpaint_padding": 8}, "inpaint_padding"),
        ({"mask_mode": "luminance", "references": [drawing.media(NOISE)]}, "references"),
        ({"inpaint_area": "masked", "preserve_unmasked": False}, "inpaint_area"),
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


def dot(size: tuple[int, int], box: tuple[int, int, int, int]) -> Any:
    from PIL import Image

    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


@pytest.mark.parametrize("model", ["sd", "sd-inpaint", "flux-fill"])
def test_a_small_mask_may_be_drawn_with_all_of_a_models_pixels(shelf: Shelf, model: str) -> None:
    picture, mask = drawing.noise(9, (400, 300)), dot((400, 300), (200, 150, 232, 182))
    fields = {
        "feather": 0,
        "image": drawing.media(picture),
        "mask": drawing.media(mask),
        "steps": 3,
    }
    fields |= {"mask_mode": "luminance", "width": 96, "height": 64}
    whole = inpaint(shelf, model, **fields)
    part = inpaint(shelf, model, inpaint_area="masked", inpaint_padding=10, **fields)
    outside = np.asarray(mask) == 0
    assert part.shape == (300, 400, 3)
    assert np.array_equal(part[outside], np.asarray(picture)[outside])

    def detail(drawn: np.ndarray) -> float:
        hole = drawn[150:182, 200:232].astype(float)
        return float(np.abs(np.diff(hole, axis=0)).mean() + np.abs(np.diff(hole, axis=1)).mean())

    # Of the whole, a pixel that is drawn becomes four by four of the picture's.
    assert detail(part) > 1.5 * detail(whole)


def test_a_model_that_looks_at_several_pictures_is_shown_the_others_too(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import FluxKontextInpaintPipeline

    shown: list[Any] = []
    original = FluxKontextInpaintPipeline.__call__

    @functools.wraps(original)
    def noted(self: Any, **arguments: Any) -> Any:
        shown.extend(arguments["image_reference"])
        return original(self, **arguments)

    monkeypatch.setattr(FluxKontextInpaintPipeline, "__call__", noted)
    first, others = drawing.noise(1), [drawing.noise(2), drawing.noise(3)]
    fields = {"mask": drawing.media(white_square((64, 64))), "mask_mode": "luminance"}
    fields |= {"references": [drawing.media(other) for other in others], "width": 64, "height": 64}
    drawn = inpaint(shelf, "kontext", image=drawing.media(first), **fields)
    seen = np.asarray(shown[0])
    assert np.array_equal(seen, np.concatenate([np.asarray(other) for other in others], axis=1))
    outside = np.asarray(white_square((64, 64))) == 0
    assert np.array_equal(drawn[outside], np.asarray(first)[outside])


def test_a_part_is_drawn_in_the_size_the_model_learnt_even_of_a_smaller_picture(
    shelf: Shelf,
) -> None:
    fields = {
        "image": drawing.media(drawing.noise(9, (48, 32))),
        "mask": drawing.media(dot((48, 32), (2, 2, 9, 9))),
        "mask_mode": "luminance",
    }
    whole = drawing.resolved(TASK, shelf.path("sd"), **fields)
    part = drawing.resolved(TASK, shelf.path("sd"), inpaint_area="masked", **fields)
    assert part.width * part.height > whole.width * whole.height
    assert (part.width, part.height) == (80, 64)


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
