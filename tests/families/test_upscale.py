"""Larger pictures on tiny models: the task `upscale`, and a second pass of `text-to-image`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onebox.core.errors import InvalidInput
from onebox.tasks import upscale as upscaling
from onebox.tasks.text_to_image import TextToImage
from onebox.tasks.upscale import Upscale
from tests.families import drawing
from tests.families.pictures import Context, assert_alike
from tests.families.tiny_pipelines import Shelf

TASK, FROM_TEXT = Upscale(), TextToImage()


def upscale(
    shelf: Shelf, model: str, context: Context | None = None, **fields: Any
) -> list[np.ndarray]:
    return drawing.run(TASK, shelf.bundle(model), shelf.path(model), context, prompt="", **fields)


@pytest.mark.parametrize(
    ("model", "size", "result"),
    [
        ("upscale-x4", (33, 20), (80, 132, 3)),
        ("upscale-x2", (64, 32), (64, 128, 3)),
        ("sd", (51, 43), (86, 102, 3)),
    ],
)
def test_the_result_is_exactly_so_many_times_as_large(
    shelf: Shelf, model: str, size: tuple[int, int], result: tuple[int, int, int]
) -> None:
    (drawn,) = upscale(shelf, model, image=drawing.media(drawing.noise(1, size)), steps=4)
    assert drawn.shape == result


@pytest.mark.parametrize("model", ["sd", "sdxl", "sd3"])
def test_a_large_picture_is_drawn_in_tiles_of_what_the_model_learnt(
    shelf: Shelf, model: str
) -> None:
    folder = shelf.path(model)
    context = Context(folder)
    side = context.entry.facts["native_size"] * 3 // 4
    picture = drawing.media(drawing.noise(1, (side, side)))
    request = drawing.resolved(TASK, folder, prompt="", image=picture, steps=4)
    recipe = TASK.recipe(request, context.entry)
    assert recipe.tile == context.entry.facts["native_size"] == 64
    (output,) = TASK.run(shelf.bundle(model), request, context)
    assert output.value.size == (2 * side, 2 * side)
    assert output.meta["seed"] == 1


@pytest.mark.parametrize(("model", "side"), [("upscale-x4", 16), ("upscale-x2", 32)])
def test_models_made_for_it_look_at_tiles_of_large_pictures_too(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch, model: str, side: int
) -> None:
    monkeypatch.setattr(upscaling, "TILE", side)
    factor = int(model[-1])
    context = Context(shelf.path(model))
    picture = drawing.noise(1, (3 * side, 2 * side))
    (drawn,) = upscale(shelf, model, context, image=drawing.media(picture), steps=3)
    assert drawn.shape == (2 * side * factor, 3 * side * factor, 3)
    # One run over the whole, not one for each tile.
    assert {steps for _, steps in context.steps} == {3}


def test_strength_says_how_much_is_drawn_anew(shelf: Shelf) -> None:
    picture = drawing.media(drawing.plain((200, 60, 60), (48, 48)))
    fields = {"image": picture, "steps": 10}
    (little,) = upscale(shelf, "sd", strength=0.1, **fields)
    (much,) = upscale(shelf, "sd", strength=0.9, **fields)
    assert not np.array_equal(little, much)
    assert little.shape == (96, 96, 3)


def test_noise_matters_to_a_model_that_takes_it(shelf: Shelf) -> None:
    picture = drawing.media(drawing.noise(2, (16, 16)))
    some, more = (
        upscale(shelf, "upscale-x4", image=picture, noise_level=level)[0] for level in (0, 300)
    )
    assert not np.array_equal(some, more)


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("upscale-x4", {"scale": 2.0}, "scale"),
        ("upscale-x4", {"strength": 0.5}, "strength"),
        ("upscale-x2", {"noise_level": 9}, "noise_level"),
        ("sd", {"noise_level": 9}, "noise_level"),
        ("sd", {"strength": 0.1}, "strength"),
        ("upscale-x4", {"image": (1200, 1200)}, "image"),
    ],
)
def test_what_a_model_does_not_have_is_refused_by_name(
    shelf: Shelf, model: str, fields: dict[str, Any], param: str
) -> None:
    picture = drawing.noise(1, fields.pop("image", (64, 64)))
    with pytest.raises(InvalidInput) as caught:
        drawing.resolved(
            TASK, shelf.path(model), prompt="", image=drawing.media(picture), steps=4, **fields
        )
    assert caught.value.param == param


def hires(shelf: Shelf, model: str, context: Context | None = None, **fields: Any) -> Any:
    given = {"width": 64, "height": 64, "steps": 4, **fields}
    return drawing.run(FROM_TEXT, shelf.bundle(model), shelf.path(model), context, **given)


@pytest.mark.parametrize("model", ["sd", "sdxl", "sd3", "flux"])
def test_a_second_pass_makes_the_picture_larger(shelf: Shelf, model: str) -> None:
    (drawn,) = hires(shelf, model, hires={"scale": 1.5})
    assert drawn.shape == (96, 96, 3)


def test_true_stands_for_a_second_pass_as_usual(shelf: Shelf) -> None:
    (drawn,) = hires(shelf, "sd", hires=True)
    assert drawn.shape == (128, 128, 3)


def test_the_steps_of_both_passes_are_told_as_one_run(shelf: Shelf) -> None:
    context = Context(shelf.path("sd"))
    hires(shelf, "sd", context, hires={"scale": 1.5, "strength": 0.5, "steps": 6}, n=2)
    assert context.steps == [(step, 7) for step in range(1, 8)]


def test_a_second_pass_gives_the_same_picture_alone_and_among_others(shelf: Shelf) -> None:
    several = hires(shelf, "sd", hires={"scale": 1.5}, n=2, seed=5)
    (alone,) = hires(shelf, "sd", hires={"scale": 1.5}, seed=6)
    assert_alike(several[1], alone)


def test_requests_with_and_without_a_second_pass_do_not_share_a_call(shelf: Shelf) -> None:
    folder = shelf.path("sd")
    plain, larger = (
        drawing.resolved(FROM_TEXT, folder, width=64, height=64, **fields)
        for fields in ({}, {"hires": {"scale": 2.0}})
    )
    entry = Context(folder).entry
    assert FROM_TEXT.batch_key(plain, entry) != FROM_TEXT.batch_key(larger, entry)
    assert FROM_TEXT.size_class(plain) != FROM_TEXT.size_class(larger)
    where = Context(folder).device
    assert FROM_TEXT.reserve_bytes(larger, entry, where) > 3 * FROM_TEXT.reserve_bytes(
        plain, entry, where
    )


def test_a_model_that_only_reads_text_has_no_second_pass(shelf: Shelf) -> None:
    with pytest.raises(InvalidInput) as caught:
        drawing.resolved(FROM_TEXT, shelf.path("pixart"), width=64, height=64, hires={})
    assert caught.value.param == "hires"
    with pytest.raises(InvalidInput, match="16777216 pixels"):
        drawing.resolved(FROM_TEXT, shelf.path("sd"), width=1024, height=1024, hires={"scale": 4.0})
