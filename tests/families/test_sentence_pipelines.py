"""Pipelines that read whole sentences: prompts beside others, limits, schedulers, precision."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.contracts import TaskDefaults
from onebox.core.errors import InvalidInput, ModelBroken
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.schedulers import fitting
from onebox.registry.on_disk import open_on_disk
from tests.families.pictures import FAMILY, TASK, Context, assert_alike, device, entry, resolve
from tests.families.tiny_pipelines import Shelf

KINDS = ["z-image", "kolors", "pixart-alpha", "aura-flow", "cogview3", "cogview4"]
KINDS += ["hunyuan-dit", "sana", "lumina2"]
OLDER = ["pixart", "chroma", "flux", "qwen-image", "flux2-klein"]
LONGER = "a blue square under a red circle, and a tree in front of it"


def asked(folder: Path, **fields: Any) -> Any:
    return resolve(folder, **{"width": 64, "height": 64, "seed": 1, **fields})


def draw(bundle: PipelineBundle, folder: Path, **fields: Any) -> np.ndarray:
    (output,) = TASK.run(bundle, asked(folder, **fields), Context(folder))
    return np.asarray(output.value)


@pytest.mark.parametrize("kind", [*KINDS, *OLDER])
def test_a_prompt_beside_a_longer_one_gives_the_picture_it_gives_alone(
    shelf: Shelf, kind: str
) -> None:
    folder, bundle = shelf.path(kind), shelf.bundle(kind)
    requests = [asked(folder, prompt=prompt) for prompt in ("a ring", LONGER)]
    drawn = TASK.run_batch(bundle, requests, Context(folder))
    for request, (output,) in zip(requests, drawn, strict=True):
        assert_alike(np.asarray(output.value), draw(bundle, folder, prompt=request.prompt))


def test_prompts_of_about_one_length_share_a_call(shelf: Shelf) -> None:
    folder, bundle = shelf.path("cogview4"), shelf.bundle("cogview4")
    context = Context(folder)
    TASK.run_batch(bundle, [asked(folder, prompt=text) for text in ("a ring", "a dot")], context)
    assert context.steps == [(1, 2), (2, 2)]


@pytest.mark.parametrize("kind", KINDS)
def test_negative_prompts_and_guidance_are_heeded(shelf: Shelf, kind: str) -> None:
    folder, bundle = shelf.path(kind), shelf.bundle(kind)
    # The larger the scale, the more a tiny model shows of what it read.
    plain = draw(bundle, folder, guidance_scale=20.0)
    for other in ({"negative_prompt": "blue"}, {"guidance_scale": 1.0}, {"prompt": LONGER}):
        assert not np.array_equal(plain, draw(bundle, folder, **{"guidance_scale": 20.0, **other}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_pipeline_takes_the_schedulers_that_fit_it(shelf: Shelf, kind: str) -> None:
    folder, bundle = shelf.path(kind), shelf.bundle(kind)
    fits = fitting(bundle.pipeline)
    assert (fits == ()) == (kind == "cogview3")
    for name in {"heun", "dpmpp_2m", "pndm"}.intersection(fits):
        context = Context(folder)
        TASK.run(bundle, asked(folder, steps=3, scheduler=name), context)
        number = context.steps[-1][1]
        assert context.steps == [(step, number) for step in range(1, number + 1)]


@pytest.mark.parametrize("scheduler", ["dpmpp_2m", "heun", None])
@pytest.mark.parametrize("kind", ["pixart-alpha", "sana", "cogview4"])
def test_one_step_is_enough(shelf: Shelf, kind: str, scheduler: str | None) -> None:
    drawn = draw(shelf.bundle(kind), shelf.path(kind), steps=1, scheduler=scheduler)
    assert drawn.std() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_denoiser_of_half_precision_works_with_a_decoder_of_full(shelf: Shelf, kind: str) -> None:
    folder = shelf.path(kind)
    context = Context(folder)
    context.device = device("bfloat16", "float32")
    half = FAMILY.load(entry(folder), context.device)
    (output,) = TASK.run(half, asked(folder, guidance_scale=2.0), context)
    whole = draw(shelf.bundle(kind), folder, guidance_scale=2.0)
    assert np.abs(np.asarray(output.value).astype(int) - whole).mean() < 4


@pytest.mark.parametrize("kind", KINDS)
def test_the_estimate_is_what_the_weights_take(shelf: Shelf, kind: str) -> None:
    components = shelf.bundle(kind).pipeline.components.values()
    stored = {
        tensor.data_ptr(): tensor.nbytes
        for module in components
        if hasattr(module, "state_dict")
        for tensor in module.state_dict().values()
    }
    estimate = FAMILY.estimate(open_on_disk(shelf.path(kind)), device())
    assert estimate == pytest.approx(sum(stored.values()), rel=0.001)


@pytest.mark.parametrize("kind", ["lumina2", "z-image", "flux2-klein", "sana", "hunyuan-dit"])
def test_as_much_of_a_prompt_is_taken_as_is_read(shelf: Shelf, kind: str) -> None:
    """Beside what the pipeline says around it, or tells its encoder before."""
    folder, bundle = shelf.path(kind), shelf.bundle(kind)
    pipeline = bundle.pipeline
    tokenizer = pipeline.components.get("tokenizer_2") or pipeline.tokenizer
    reader = pipeline.components.get("text_encoder_2") or pipeline.text_encoder
    last = tokenizer("~", add_special_tokens=False).input_ids[-1]
    seen: list[bool] = []

    def look(module: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        ids = args[0] if args else named["input_ids"]
        seen.append(bool((ids == last).any()))

    with pytest.raises(InvalidInput, match="in fewer words") as refused:
        draw(bundle, folder, prompt="x" * 600)
    assert refused.value.details is not None
    limit = refused.value.details["max"]
    letters = limit - (len(tokenizer("x~").input_ids) - 1)
    hook = reader.register_forward_pre_hook(look, with_kwargs=True)
    draw(bundle, folder, prompt="x" * letters + "~", steps=1, guidance_scale=0.0)
    hook.remove()
    assert seen == [True]
    with pytest.raises(InvalidInput, match=f"has {limit + 1} tokens"):
        draw(bundle, folder, prompt="x" * letters + "x~", steps=1, guidance_scale=0.0)


def test_sides_beyond_the_places_that_a_model_learnt_are_refused(shelf: Shelf) -> None:
    folder = shelf.path("aura-flow")
    where = entry(folder)
    assert (where.facts["native_size"], where.facts["max_side"]) == (128, 128)
    TASK.check(asked(folder, width=128), where)
    with pytest.raises(InvalidInput, match="at most 128 pixels, and width is 144") as refused:
        TASK.check(asked(folder, width=144), where)
    assert refused.value.param == "width"


def test_the_native_size_is_told_by_a_decoder_of_any_kind(shelf: Shelf) -> None:
    request = TASK.resolve(
        TASK.Input(prompt="a ring"), entry(shelf.path("sana")), TaskDefaults(20, 7.5)
    )
    assert (request.width, request.height) == (1024, 1024)


@pytest.mark.parametrize(
    ("file", "change", "reason"),
    [
        ("model_index.json", {"text_encoder": ["kolors", "ChatGLMConfig"]}, "'kolors'"),
        ("model_index.json", {"text_encoder": ["other", "ChatGLMModel"]}, "'other'"),
        ("tokenizer/tokenizer_config.json", {"auto_map": {"AutoTokenizer": ["e.E"]}}, "remote"),
    ],
)
def test_of_a_pipelines_own_classes_only_those_known_are_loaded(
    shelf: Shelf, tmp_path: Path, file: str, change: dict[str, Any], reason: str
) -> None:
    folder = tmp_path / "kolors"
    shutil.copytree(shelf.path("kolors"), folder)
    held = json.loads((folder / file).read_text("utf-8"))
    (folder / file).write_text(json.dumps(held | change), "utf-8")
    with pytest.raises(ModelBroken, match=reason):
        FAMILY.matches(open_on_disk(folder))
