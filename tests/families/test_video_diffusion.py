"""Family `video_diffusion`: what it recognises and loads, and what requests can ask of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import InferenceFailed, InvalidInput, ModelBroken
from onebox.families.image_diffusion import ImageDiffusion
from onebox.registry.on_disk import open_on_disk
from tests.families.adapter_files import attention, entry_of, kohya, layers, save
from tests.families.drawing import media, noise, plain
from tests.families.filming import (
    FAMILY,
    IMAGE,
    TEXT,
    Context,
    entry,
    frames,
    outputs,
    resolved,
    video_shelf,
)
from tests.families.pictures import device
from tests.families.tiny_pipelines import Shelf


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return video_shelf(tmp_path_factory.mktemp("videos"))


def test_it_knows_its_own_and_what_they_can_do(videos: Shelf, tiny_sd: Path) -> None:
    assert entry(videos.path("wan")).tasks == ("text-to-video",)
    assert entry(videos.path("ltx")).tasks == ("image-to-video", "text-to-video")
    assert entry(videos.path("stable-video")).tasks == ("image-to-video",)
    assert FAMILY.matches(open_on_disk(tiny_sd)) is None
    assert ImageDiffusion().matches(open_on_disk(videos.path("wan"))) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda index: index.update(transformer=["my_code", "MyModel"]), "my_code"),
        (lambda index: index.update(text_encoder_2=["transformers", "X"]), "text_encoder_2/"),
        (lambda index: index.update(custom_pipeline="evil"), "remote code"),
    ],
)
def test_a_folder_that_wants_its_own_code_is_refused(
    videos: Shelf, tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    copy = Path(shutil.copytree(videos.path("wan"), tmp_path / "copy"))
    index = json.loads((copy / "model_index.json").read_text())
    change(index)
    (copy / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(ModelBroken, match=reason):
        FAMILY.matches(open_on_disk(copy))


@pytest.mark.parametrize("name", ["wan-two", "animatediff", "stable-video", "ltx"])
def test_the_estimate_is_what_is_measured(videos: Shelf, name: str) -> None:
    estimate = FAMILY.estimate(open_on_disk(videos.path(name)), device())
    assert estimate == pytest.approx(videos.bundle(name).size_bytes, rel=0.03)


def test_an_adapter_that_its_denoiser_has_taken_in_is_not_kept_twice(videos: Shelf) -> None:
    assert videos.bundle("animatediff").pipeline.motion_adapter is None


@pytest.mark.parametrize("name", ["wan", "cogvideox-image", "animatediff", "hunyuan"])
def test_weights_and_decoder_may_differ_in_dtype(videos: Shelf, name: str) -> None:
    where = entry(videos.path(name))
    loaded = FAMILY.load(where, device("bfloat16", "float32"))
    task = TEXT if "text-to-video" in where.tasks else IMAGE
    video, *_ = task.run(loaded, resolved(task, where), Context(where))
    assert video.value.frames == 9
    assert np.concatenate(list(video.value.chunks)).std() > 1


def test_prompts_guidance_and_negative_prompts_have_effects(videos: Shelf) -> None:
    for name in ("wan", "animatediff"):
        usual = frames(TEXT, videos, name)
        for change in ({"prompt": "a cup"}, {"negative_prompt": "blue"}, {"guidance_scale": 2.0}):
            assert not np.array_equal(usual, frames(TEXT, videos, name, **change))


def test_a_picture_shapes_the_video(videos: Shelf) -> None:
    for name in ("ltx", "wan-both", "stable-video", "hunyuan-replaced"):
        one = frames(IMAGE, videos, name)
        assert not np.array_equal(one, frames(IMAGE, videos, name, image=media(plain((9, 9, 9)))))


def test_a_picture_of_another_shape_is_cut_to_that_of_the_video(videos: Shelf) -> None:
    drawn = frames(IMAGE, videos, "ltx", image=media(noise(3, (96, 64))), width=64, height=96)
    assert drawn.shape == (9, 96, 64, 3)


def test_how_much_moves_can_be_told_where_the_model_knows(videos: Shelf) -> None:
    usual = frames(IMAGE, videos, "stable-video")
    assert not np.array_equal(usual, frames(IMAGE, videos, "stable-video", motion_bucket_id=9))
    assert not np.array_equal(usual, frames(IMAGE, videos, "stable-video", fps=20))
    assert not np.array_equal(frames(TEXT, videos, "ltx"), frames(TEXT, videos, "ltx", fps=10))


def test_schedulers_are_named_or_refused(videos: Shelf) -> None:
    for name, scheduler in (("wan", "euler"), ("ltx", "dpmpp_2m"), ("animatediff", "euler_a")):
        other = frames(TEXT, videos, name, scheduler=scheduler)
        assert not np.array_equal(other, frames(TEXT, videos, name))
    for name, task in (("cogvideox", TEXT), ("stable-video", IMAGE)):
        with pytest.raises(InvalidInput) as caught:
            outputs(task, videos, name, scheduler="ddim")
        assert caught.value.param == "scheduler"


def test_a_scheduler_that_is_called_in_an_order_of_its_own_shows_the_making(
    videos: Shelf,
) -> None:
    from diffusers import CogVideoXDPMScheduler

    pipeline = videos.bundle("cogvideox").pipeline
    own = pipeline.scheduler
    pipeline.scheduler = CogVideoXDPMScheduler.from_config(own.config)
    try:
        context = Context(entry(videos.path("cogvideox")))
        outputs(TEXT, videos, "cogvideox", context, steps=3, partial_images=3)
    finally:
        pipeline.scheduler = own
    assert len(context.previews) == 3


def test_what_a_model_cannot_heed_is_refused(videos: Shelf) -> None:
    with pytest.raises(InvalidInput, match="no negative prompt"):
        outputs(TEXT, videos, "hunyuan", negative_prompt="blue")
    with pytest.raises(InvalidInput, match="fewer words") as caught:
        outputs(TEXT, videos, "ltx", prompt="a red circle " * 40)
    assert caught.value.param == "prompt"


def test_a_lora_works_on_a_picture_model_that_has_learnt_to_move(
    videos: Shelf, tmp_path: Path
) -> None:
    bundle, where = videos.bundle("animatediff"), entry(videos.path("animatediff"))
    matrices = [
        layer
        for layer in layers(bundle.pipeline, "unet", attention)
        if "motion_modules" not in layer.name
    ]
    tensors = {key: value for layer in matrices for key, value in kohya(layer).items()}
    file = save(tmp_path / "style.safetensors", tensors)
    usual = frames(TEXT, videos, "animatediff")
    named = {"loras": [{"model": file.name}]}
    context = Context(where)
    context.companions = {f"lora:{file.name}": entry_of(file)}
    video, *_ = outputs(TEXT, videos, "animatediff", context, **named)
    assert not np.array_equal(np.concatenate(list(video.value.chunks)), usual)
    assert np.array_equal(frames(TEXT, videos, "animatediff"), usual)


def test_a_long_weighted_prompt_is_read_whole_where_clip_reads_it(videos: Shelf) -> None:
    long = "a red circle on a blue ground with a yellow star and a green ring and " * 3
    one = frames(TEXT, videos, "animatediff", prompt=f"{long} (white:1.3)")
    two = frames(TEXT, videos, "animatediff", prompt=f"{long} (black:1.3)")
    assert not np.array_equal(one, two)


def test_a_still_and_a_sheet_come_with_it_when_asked_for(videos: Shelf) -> None:
    video, still, sheet = outputs(TEXT, videos, "wan", thumbnail=True, spritesheet=True, seed=7)
    assert [one.kind for one in (video, still, sheet)] == ["video", "image", "image"]
    assert video.meta == {
        "variant": "video",
        "width": 64,
        "height": 64,
        "seed": 7,
        "frames": 9,
        "fps": 16,
        "seconds": 9 / 16,
    }
    assert [one.meta["variant"] for one in (still, sheet)] == ["thumbnail", "spritesheet"]
    assert sheet.value.width > still.value.width
    assert video.options == {"format": "mp4"}
    assert video.embedded["prompt"] == "a red circle"
    assert video.embedded["seed"] == "7"
    assert video.embedded["model_sha256"] == "ab" * 32


def test_with_little_memory_the_video_is_nearly_the_same(videos: Shelf) -> None:
    usual = frames(TEXT, videos, "wan")
    lean = Context(entry(videos.path("wan")), lean=True)
    video, *_ = outputs(TEXT, videos, "wan", lean)
    assert np.concatenate(list(video.value.chunks)).shape == usual.shape
    assert not videos.bundle("wan").pipeline.vae.use_tiling


def test_weights_that_compute_no_numbers_are_an_error(videos: Shelf) -> None:
    weight = next(videos.bundle("ltx").pipeline.transformer.parameters())
    before = weight.data.clone()
    weight.data.fill_(float("nan"))
    try:
        with pytest.raises(InferenceFailed, match="no numbers"):
            outputs(TEXT, videos, "ltx")
    finally:
        weight.data.copy_(before)
    assert frames(TEXT, videos, "ltx").std() > 1
