"""Every tiny pipeline at every task it offers: seeds, steps, batches, and a stop inside a step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from onebox.core.cancel import interruptible
from onebox.core.errors import Cancelled
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.image_to_image import ImageToImage
from onebox.tasks.inpainting import Inpainting
from onebox.tasks.picture_task import PictureTask
from onebox.tasks.text_to_image import TextToImage
from onebox.tasks.upscale import Upscale
from onebox.tasks.variations import Variations
from tests.families import drawing
from tests.families.pictures import FAMILY, Context, assert_alike
from tests.families.tiny_pipelines import Shelf

TASKS: dict[str, PictureTask[Any]] = {
    task.name: task
    for task in (TextToImage(), ImageToImage(), Inpainting(), Variations(), Upscale())
}
FROM_TEXT = ("text-to-image",)
FROM_ONE = ("image-to-image", "variations", "upscale")
OFFERED: dict[str, tuple[str, ...]] = {
    "sd": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "sd-inpaint": ("inpainting",),
    "pix2pix": ("image-to-image",),
    "lcm": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "sdxl": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "sdxl-refiner": (*FROM_ONE, "inpainting"),
    "upscale-x4": ("upscale",),
    "upscale-x2": ("upscale",),
    "sd3": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "flux": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "flux-fill": ("inpainting",),
    "kontext": (*FROM_TEXT, "image-to-image", "inpainting"),
    "chroma": (*FROM_TEXT, *FROM_ONE),
    "pixart": FROM_TEXT,
    "qwen-image": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "flux2-klein": (*FROM_TEXT, "image-to-image"),
    "z-image": (*FROM_TEXT, *FROM_ONE, "inpainting"),
    "kolors": (*FROM_TEXT, *FROM_ONE),
    "pixart-alpha": FROM_TEXT,
    "aura-flow": FROM_TEXT,
    "cogview3": FROM_TEXT,
    "cogview4": FROM_TEXT,
    "hunyuan-dit": FROM_TEXT,
    "sana": FROM_TEXT,
    "lumina2": FROM_TEXT,
}


def pairs() -> Iterator[tuple[str, str]]:
    for model, tasks in OFFERED.items():
        for task in tasks:
            yield model, task


each = pytest.mark.parametrize(("model", "task"), list(pairs()))


def asked(task: str, number: int = 1) -> dict[str, Any]:
    """What a request to the task says beside prompt and seed; `number` tells pictures apart."""
    picture = drawing.media(drawing.noise(number))
    mask = drawing.media(drawing.half_mask())
    given: dict[str, dict[str, Any]] = {
        "text-to-image": {"width": 64, "height": 64},
        "image-to-image": {"images": [picture]},
        "inpainting": {"image": picture, "mask": mask, "mask_mode": "luminance"},
        "variations": {"image": picture, "strength": 0.7},
        "upscale": {"image": picture},
    }
    return {"steps": 2 if task in FROM_TEXT else 4, **given[task]}


@pytest.mark.parametrize("model", OFFERED)
def test_a_checkpoint_offers_the_tasks_that_its_weights_can_do(shelf: Shelf, model: str) -> None:
    match = FAMILY.matches(open_on_disk(shelf.path(model)))
    assert match is not None
    assert match.tasks is not None
    assert match.tasks & set(TASKS) == set(OFFERED[model])


@each
def test_a_seed_gives_the_same_picture_alone_and_among_others(
    shelf: Shelf, model: str, task: str
) -> None:
    context = Context(shelf.path(model))
    bundle = shelf.bundle(model)
    several = drawing.run(
        TASKS[task], bundle, shelf.path(model), context, n=2, seed=7, **asked(task)
    )
    (alone,) = drawing.run(TASKS[task], bundle, shelf.path(model), seed=8, **asked(task))
    assert_alike(several[1], alone)
    assert not np.array_equal(several[0], several[1])
    assert [step for step, _ in context.steps] == list(range(1, len(context.steps) + 1))
    assert context.steps[-1][0] == context.steps[-1][1]


@pytest.mark.parametrize("task", ["image-to-image", "inpainting", "variations"])
@pytest.mark.parametrize("model", ["sd", "sdxl", "sd3", "flux", "qwen-image", "z-image"])
def test_requests_with_pictures_of_their_own_share_a_call(
    shelf: Shelf, model: str, task: str
) -> None:
    folder, bundle = shelf.path(model), shelf.bundle(model)
    requests = [
        drawing.resolved(TASKS[task], folder, seed=seed, **asked(task, seed)) for seed in (1, 2)
    ]
    context = Context(folder)
    assert len({TASKS[task].batch_key(request, context.entry) for request in requests}) == 1
    drawn = TASKS[task].run_batch(bundle, requests, context)
    for seed, (output,) in zip((1, 2), drawn, strict=True):
        (alone,) = drawing.run(TASKS[task], bundle, folder, seed=seed, **asked(task, seed))
        assert_alike(np.asarray(output.value), alone)
        assert output.meta["seed"] == seed


def test_guidance_matters_where_it_needs_a_second_look_at_each_step(shelf: Shelf) -> None:
    fields = asked("text-to-image")
    little, much = (
        drawing.run(
            TASKS["text-to-image"],
            shelf.bundle("qwen-image"),
            shelf.path("qwen-image"),
            **{**fields, "guidance_scale": scale},
        )[0]
        for scale in (1.0, 9.0)
    )
    assert not np.array_equal(little, much)


@pytest.mark.parametrize(
    ("model", "task"),
    [
        ("sd", "image-to-image"),
        ("sdxl", "inpainting"),
        ("flux-fill", "inpainting"),
        ("kontext", "image-to-image"),
        ("upscale-x4", "upscale"),
        ("z-image", "inpainting"),
        ("kolors", "variations"),
        ("cogview3", "text-to-image"),
        ("pixart-alpha", "text-to-image"),
    ],
)
def test_a_cancel_takes_effect_inside_a_step_and_leaves_the_model_as_it_was(
    shelf: Shelf, model: str, task: str
) -> None:
    folder, bundle = shelf.path(model), shelf.bundle(model)
    (before,) = drawing.run(TASKS[task], bundle, folder, **asked(task))
    context = Context(folder)

    def stop_after_the_first_step() -> None:
        if context.steps:
            raise Cancelled("in the second")

    request = drawing.resolved(TASKS[task], folder, **asked(task))
    with pytest.raises(Cancelled, match="second"), interruptible(stop_after_the_first_step):
        TASKS[task].run(bundle, request, context)
    assert len(context.steps) == 1
    (after,) = drawing.run(TASKS[task], bundle, folder, **asked(task))
    assert np.array_equal(before, after)
