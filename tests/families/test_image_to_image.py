"""Tasks `image-to-image` and `variations` on tiny models: pictures drawn on, and instructions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import InvalidInput
from onebox.tasks.image_to_image import ImageToImage
from onebox.tasks.inpainting import Inpainting
from onebox.tasks.variations import Variations
from tests.families import drawing
from tests.families.pictures import Context
from tests.families.tiny_pipelines import Shelf

TASK = ImageToImage()
RED, BLUE = drawing.plain((255, 0, 0), (64, 64)), drawing.plain((0, 0, 255), (32, 64))


@contextmanager
def seen_by_the_vae(bundle: Any) -> Iterator[list[np.ndarray]]:
    """The pictures that are encoded meanwhile, as [height, width, channels] of 0 to 255."""
    seen: list[np.ndarray] = []

    def note(module: Any, inputs: tuple[Any, ...]) -> None:
        for pixels in inputs[0]:
            values = pixels.float().permute(1, 2, 0).numpy()
            seen.append(((values / 2 + 0.5) * 255).round().astype(np.uint8))

    handle = bundle.pipeline.vae.encoder.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


@contextmanager
def read_by_the_encoder(bundle: Any) -> Iterator[list[str]]:
    """The texts that the first text encoder reads meanwhile."""
    read: list[str] = []
    tokenizer = bundle.pipeline.tokenizer

    def note(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = args[0] if args else kwargs["input_ids"]
        read.extend(tokenizer.batch_decode(ids, skip_special_tokens=True))

    handle = bundle.pipeline.text_encoder.register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield read
    finally:
        handle.remove()


def test_a_strength_says_how_far_from_the_picture(shelf: Shelf) -> None:
    picture = drawing.noise(1)
    bundle, folder = shelf.bundle("sd"), shelf.path("sd")
    fields = {"images": [drawing.media(picture)], "steps": 10}
    with seen_by_the_vae(bundle) as seen:
        near, far = (
            drawing.run(TASK, bundle, folder, strength=strength, **fields)[0]
            for strength in (0.1, 1.0)
        )
    assert all(np.array_equal(shown, np.asarray(picture)) for shown in seen)
    assert not np.array_equal(near, far)
    context = Context(folder)
    drawing.run(TASK, bundle, folder, context, strength=0.5, **fields)
    assert len(context.steps) == 5


def test_a_picture_without_a_size_is_drawn_in_its_own(shelf: Shelf) -> None:
    for size, drawn in (((72, 64), (72, 64)), ((75, 66), (72, 64)), ((640, 640), (64, 64))):
        request = drawing.resolved(
            TASK, shelf.path("sd"), images=[drawing.media(drawing.noise(1, size))]
        )
        assert (request.width, request.height) == drawn


def test_one_side_brings_the_other(shelf: Shelf) -> None:
    picture = drawing.media(drawing.noise(1, (200, 100)))
    request = drawing.resolved(TASK, shelf.path("sd"), images=[picture], width=128)
    assert (request.width, request.height) == (128, 64)


def test_another_shape_is_cut_out_of_the_middle(shelf: Shelf) -> None:
    from PIL import Image

    picture = Image.new("RGB", (128, 64), (0, 0, 255))
    picture.paste((255, 0, 0), (32, 0, 96, 64))
    bundle = shelf.bundle("sd")
    with seen_by_the_vae(bundle) as seen:
        drawing.run(
            TASK, bundle, shelf.path("sd"), images=[drawing.media(picture)], width=64, height=64
        )
    assert (seen[0] == (255, 0, 0)).all()


def test_all_references_and_the_instruction_reach_a_model_that_follows_it(shelf: Shelf) -> None:
    bundle, folder = shelf.bundle("kontext"), shelf.path("kontext")
    images = [drawing.media(picture) for picture in (RED, BLUE)]
    with seen_by_the_vae(bundle) as seen, read_by_the_encoder(bundle) as read:
        (drawn,) = drawing.run(TASK, bundle, folder, images=images, prompt="swap them")
    assert drawn.shape == (64, 64, 3)
    (joined,) = seen
    assert joined.shape == (128, 192, 3)
    assert (joined[:, :128] == (255, 0, 0)).all()
    assert (joined[:, 128:] == (0, 0, 255)).all()
    assert [text.strip() for text in read] == ["swap them"]


def test_references_reach_a_model_one_by_one_that_takes_them_so(shelf: Shelf) -> None:
    bundle, folder = shelf.bundle("flux2-klein"), shelf.path("flux2-klein")
    images = [drawing.media(picture) for picture in (RED, BLUE)]
    with seen_by_the_vae(bundle) as seen:
        drawn = drawing.run(TASK, bundle, folder, images=images, n=2)
    assert len(drawn) == 2
    assert [shown.shape for shown in seen] == [(64, 64, 3), (128, 64, 3)]
    assert (seen[0] == (255, 0, 0)).all()
    assert (seen[1] == (0, 0, 255)).all()


@pytest.mark.parametrize("model", ["kontext", "flux2-klein"])
@pytest.mark.parametrize("size", [(8, 8), (9, 20)])
def test_a_small_reference_can_be_shown(shelf: Shelf, model: str, size: tuple[int, int]) -> None:
    image = drawing.media(drawing.noise(1, size))
    fields = {"images": [image], "width": 64, "height": 64}
    (drawn,) = drawing.run(TASK, shelf.bundle(model), shelf.path(model), **fields)
    assert drawn.shape == (64, 64, 3)


@pytest.mark.parametrize("model", ["kontext", "flux2-klein"])
def test_each_reference_matters_to_what_comes_out(shelf: Shelf, model: str) -> None:
    bundle, folder = shelf.bundle(model), shelf.path(model)
    first, second, third = (drawing.media(drawing.noise(seed)) for seed in (1, 2, 3))
    drawn = [
        drawing.run(TASK, bundle, folder, images=images)[0]
        for images in ([first], [first, second], [first, third])
    ]
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[1], drawn[2])


def test_pictures_for_an_instruction_are_drawn_in_calls_of_their_own(shelf: Shelf) -> None:
    request = drawing.resolved(TASK, shelf.path("kontext"), images=[drawing.media(RED)])
    assert TASK.batch_key(request, Context(shelf.path("kontext")).entry) is None


def test_a_mask_goes_with_an_instruction_too(shelf: Shelf) -> None:
    bundle, folder = shelf.bundle("kontext"), shelf.path("kontext")
    picture = drawing.noise(4)
    (drawn,) = drawing.run(
        Inpainting(),
        bundle,
        folder,
        image=drawing.media(picture),
        mask=drawing.media(drawing.half_mask()),
        mask_mode="luminance",
    )
    assert np.array_equal(drawn[:, :32], np.asarray(picture)[:, :32])


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("sd", {"images": 2}, "images"),
        ("sd", {"strength": 0.0}, "strength"),
        ("sd", {"strength": 0.4}, "strength"),
        ("kontext", {"strength": 0.9}, "strength"),
    ],
)
def test_what_a_model_does_not_have_is_refused_by_name(
    shelf: Shelf, model: str, fields: dict[str, Any], param: str
) -> None:
    count = fields.pop("images", 1)
    images = [drawing.media(RED)] * count
    with pytest.raises(InvalidInput) as caught:
        drawing.resolved(TASK, shelf.path(model), images=images, **fields)
    assert caught.value.param == param


def test_the_strength_of_a_checkpoint_comes_from_its_settings(shelf: Shelf) -> None:
    from onebox.core.contracts import TaskDefaults
    from tests.families.pictures import entry

    request = TASK.Input(prompt="x", images=[drawing.media(RED)])
    where = entry(shelf.path("sd"), defaults={"strength": 0.4})
    assert TASK.resolve(request, where, TaskDefaults(20, 7.5)).strength == 0.4


def test_variations_need_no_prompt_and_are_near_the_picture(shelf: Shelf) -> None:
    picture = drawing.media(drawing.noise(5, (64, 72)))
    bundle, folder = shelf.bundle("sdxl"), shelf.path("sdxl")
    context = Context(folder)
    drawn = drawing.run(
        Variations(), bundle, folder, context, image=picture, prompt="", steps=10, n=2
    )
    assert [one.shape for one in drawn] == [(72, 64, 3)] * 2
    assert not np.array_equal(*drawn)
    assert len(context.steps) == 6
