"""Products on drawn backgrounds, by a tiny Stable Diffusion."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image, ImageDraw

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.results import Artifact, Output
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.tasks.background import Background, BackgroundInput
from onebox.tasks.cutout import CutoutInput
from tests.families.pictures import Context, entry

TASK = Background()
SIZE = (96, 72)


def file(picture: Image.Image) -> MediaRef:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return MediaRef(media_type="image/png", data=buffer.getvalue())


def noise() -> Image.Image:
    shape = (SIZE[1], SIZE[0], 3)
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8))


def shape(inside: int = 255, outside: int = 0) -> Image.Image:
    picture = Image.new("L", SIZE, outside)
    ImageDraw.Draw(picture).ellipse((30, 16, 62, 60), fill=inside)
    return picture


def cut_out() -> Image.Image:
    picture = noise()
    picture.putalpha(shape())
    return picture


SOLID = np.asarray(shape()) == 255


class Reading(Context):
    def read(self, media: MediaRef) -> bytes:
        assert media.data is not None
        return media.data


def known(folder: Path) -> Entry:
    return msgspec.structs.replace(entry(folder), kind="StableDiffusionPipeline")


def resolved(folder: Path, **request: Any) -> BackgroundInput:
    asked = {"prompt": "on a table", "steps": 2, "seed": 1, **request}
    return TASK.resolve(BackgroundInput(**asked), known(folder), TaskDefaults(2, 5.0))


def run(bundle: PipelineBundle, folder: Path, **request: Any) -> list[Output]:
    asked = resolved(folder, **request)
    context = Reading(folder)
    context.entry = known(folder)
    TASK.check(asked, context.entry)
    return TASK.run(bundle, asked, context)


def pixels(output: Output) -> np.ndarray:
    return np.asarray(output.value)


@pytest.mark.parametrize(
    "told",
    [
        {"image": file(cut_out())},
        {"image": file(noise()), "matte": file(shape())},
        {"image": file(noise()), "mask": file(shape(0, 255)), "mask_mode": "luminance"},
    ],
    ids=["alpha", "matte", "mask"],
)
def test_the_product_keeps_its_pixels_whatever_told_it(
    bundle: PipelineBundle, tiny_sd: Path, told: dict[str, Any]
):
    (output,) = run(bundle, tiny_sd, **told)
    assert output.value.size == SIZE
    drawn = pixels(output)
    assert np.array_equal(drawn[SOLID], np.asarray(noise())[SOLID])
    assert (drawn[~SOLID] != np.asarray(noise())[~SOLID]).mean() > 0.9


def test_pictures_of_a_request_have_backgrounds_of_their_own(bundle: PipelineBundle, tiny_sd: Path):
    one, two = run(bundle, tiny_sd, image=file(cut_out()), n=2)
    assert (one.meta["seed"], two.meta["seed"]) == (1, 2)
    assert not np.array_equal(pixels(one), pixels(two))
    (alone,) = run(bundle, tiny_sd, image=file(cut_out()), seed=2)
    difference = pixels(two).astype(int) - pixels(alone)
    assert np.abs(difference).max() <= 2


def test_requests_of_one_batch_keep_their_own_products(bundle: PipelineBundle, tiny_sd: Path):
    other = Image.new("RGBA", SIZE, (200, 30, 30, 0))
    ImageDraw.Draw(other).rectangle((10, 10, 40, 40), fill=(200, 30, 30, 255))
    asked = [resolved(tiny_sd, image=file(picture)) for picture in (cut_out(), other)]
    context = Reading(tiny_sd)
    context.entry = known(tiny_sd)
    assert len({TASK.batch_key(request, context.entry) for request in asked}) == 1
    (first,), (second,) = TASK.run_batch(bundle, asked, context)
    assert np.array_equal(pixels(first)[SOLID], np.asarray(noise())[SOLID])
    assert (pixels(second)[10:41, 10:41] == (200, 30, 30)).all()


def test_the_canvas_has_the_size_that_was_asked_for_and_the_product_its_place(
    bundle: PipelineBundle, tiny_sd: Path
):
    (output,) = run(
        bundle, tiny_sd, image=file(cut_out()), aspect_ratio="1:1", position="bottom-right"
    )
    assert (output.meta["width"], output.meta["height"]) == (96, 96)
    # Its soft edge, of four pixels, is at the corner.
    rows, columns = np.nonzero(SOLID)
    down, right = 96 - 5 - rows.max(), 96 - 5 - columns.max()
    moved = pixels(output)[rows + down, columns + right]
    assert np.array_equal(moved, np.asarray(noise())[rows, columns])


def test_a_shadow_that_came_with_the_photo_is_kept_whole(bundle: PipelineBundle, tiny_sd: Path):
    alpha = shape()
    alpha.paste(60, (63, 50, 94, 58))
    picture = noise()
    picture.putalpha(alpha)
    _, matte = run(bundle, tiny_sd, image=file(picture), return_mask=True)
    assert np.array_equal(pixels(matte), np.asarray(alpha))


def test_a_shadow_darkens_what_was_drawn_below(bundle: PipelineBundle, tiny_sd: Path):
    (plain,) = run(bundle, tiny_sd, image=file(cut_out()))
    (shaded,) = run(bundle, tiny_sd, image=file(cut_out()), shadow=0.8)
    below = (slice(61, 64), slice(40, 52))
    assert pixels(shaded)[below].mean() < pixels(plain)[below].mean() - 10
    assert np.array_equal(pixels(shaded)[SOLID], pixels(plain)[SOLID])


def test_the_matte_comes_last_if_it_was_asked_for(bundle: PipelineBundle, tiny_sd: Path):
    picture, matte = run(bundle, tiny_sd, image=file(cut_out()), return_mask=True)
    assert "role" not in picture.meta
    assert matte.meta == {"role": "mask", "width": 96, "height": 72}
    assert np.array_equal(pixels(matte), np.asarray(shape()))


def test_what_the_segmentation_model_told_is_in_the_answer(bundle: PipelineBundle, tiny_sd: Path):
    asked = resolved(tiny_sd, image=file(noise()))
    stage = TASK.before(asked, known(tiny_sd))
    assert stage is not None
    assert stage.task == "cutout"
    assert isinstance(stage.input, CutoutInput)
    assert stage.input.output == "matte"
    told = {"confidence": 0.9, "edge_sharpness": 0.4, "width": 96, "height": 72}
    matte = Artifact("image/png", file(shape()).data, None, told)
    joined = TASK.joined(asked, [matte])
    context = Reading(tiny_sd)
    context.entry = known(tiny_sd)
    (output,) = TASK.run(bundle, joined, context)
    assert output.meta["confidence"] == 0.9
    assert output.meta["edge_sharpness"] == 0.4
    assert np.array_equal(pixels(output)[SOLID], np.asarray(noise())[SOLID])


@pytest.mark.parametrize(
    ("request_", "asks"),
    [
        ({"image": file(noise())}, True),
        ({"image": file(cut_out())}, False),
        ({"image": file(cut_out()), "cut": "model"}, True),
        ({"image": file(noise()), "cut": "alpha"}, False),
        ({"image": file(noise()), "mask": file(shape())}, False),
        ({"image": file(noise()), "matte": file(shape())}, False),
    ],
)
def test_a_segmentation_model_is_asked_only_where_nothing_else_tells_the_product(
    tiny_sd: Path, request_: dict[str, Any], asks: bool
):
    stage = TASK.before(resolved(tiny_sd, **request_), known(tiny_sd))
    assert (stage is not None) == asks


@pytest.mark.parametrize(
    "request_",
    [{"background": "transparent"}, {"width": 4096, "height": 4096, "n": 4}, {"strength": 0.1}],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_cut_out(
    tiny_sd: Path, request_: dict[str, Any]
):
    with pytest.raises(InvalidInput):
        resolved(tiny_sd, image=file(noise()), **request_)


def test_the_named_segmentation_model_is_asked(tiny_sd: Path):
    stage = TASK.before(resolved(tiny_sd, image=file(noise()), cutout_model="mine"), known(tiny_sd))
    assert stage is not None
    assert stage.model == "mine"


def test_large_photos_are_drawn_at_the_models_size_and_come_back_in_their_own(
    bundle: PipelineBundle, tiny_sd: Path
):
    large = cut_out().resize((384, 288), Image.Resampling.NEAREST)
    asked = resolved(tiny_sd, image=file(large))
    recipe = TASK.recipe(asked, known(tiny_sd))
    assert recipe.width * recipe.height <= 1.5 * 64 * 64
    (output,) = run(bundle, tiny_sd, image=file(large))
    assert output.value.size == (384, 288)
    solid = np.asarray(large)[..., 3] == 255
    assert np.array_equal(pixels(output)[solid], np.asarray(large)[..., :3][solid])


@pytest.mark.parametrize(
    ("request_", "param"),
    [
        ({"image": file(noise()), "cut": "alpha"}, "image"),
        ({"image": file(noise()), "matte": file(shape(0))}, "image"),
        ({"image": file(cut_out()), "background": "transparent"}, "background"),
        ({"image": file(noise()), "matte": file(Image.new("L", SIZE, 255))}, "image"),
        ({"image": file(cut_out()), "width": 64}, "width"),
        ({"image": file(cut_out()), "aspect_ratio": "9:1"}, "aspect_ratio"),
        (
            {"image": file(cut_out()), "aspect_ratio": "1:1", "width": 96, "height": 64},
            "aspect_ratio",
        ),
        ({"image": file(noise()), "matte": file(shape().rotate(90, expand=True))}, "matte"),
        ({"image": file(cut_out()), "width": 4096, "height": 4096, "n": 4}, "n"),
        ({"image": file(cut_out()), "strength": 0.1}, "strength"),
        ({"image": file(noise()), "mask": file(shape()), "matte": file(shape())}, "matte"),
        ({"image": MediaRef(data=b"no picture")}, "image"),
    ],
)
def test_what_cannot_be_done_is_refused_by_the_name_of_the_field(
    bundle: PipelineBundle, tiny_sd: Path, request_: dict[str, Any], param: str
):
    with pytest.raises(InvalidInput) as caught:
        run(bundle, tiny_sd, **request_)
    assert caught.value.param == param
