"""Tasks `text-to-video` and `image-to-video` on tiny random pipelines of every class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from onebox.core.errors import Cancelled
from onebox.imaging.diffusion.views import view_as
from onebox.imaging.video.abilities import TABLE, ability_of
from onebox.tasks.video_task import VideoTask
from tests.families.drawing import noise
from tests.families.filming import ALL, IMAGE, Context, entry, frames, outputs, video_shelf
from tests.families.pictures import assert_alike
from tests.families.tiny_pipelines import Shelf

each = pytest.mark.parametrize(
    ("name", "task"), ALL, ids=[f"{name}-{task.name[:5]}" for name, task in ALL]
)
# Where a pipeline is called otherwise than the others for the same video.
CALLS: Mapping[str, Mapping[str, Any]] = {
    "stable-video": {"max_guidance_scale": 3.0, "fps": 7},
    "ltx": {"guidance_scale": 3.0, "frame_rate": 24},
    # It drops those that it starts from.
    "hunyuan-image": {"num_frames": 13},
}
# More would be decoded in runs.
COUNTS = {"stable-video": 8}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return video_shelf(tmp_path_factory.mktemp("videos"))


def test_every_class_is_tried() -> None:
    tried = {name for ability in TABLE.values() for name in ability.classes.values()}
    assert tried >= set(TABLE)
    assert len(ALL) >= len(tried)


@each
def test_it_draws_what_the_pipeline_itself_does(
    videos: Shelf, name: str, task: VideoTask[Any]
) -> None:
    count = COUNTS.get(name, 9)
    drawn = frames(task, videos, name, num_frames=count)
    assert drawn.shape == (count, 64, 64, 3)
    assert drawn.std() > 1
    assert_alike(drawn, own_call(videos, name, task, count))
    assert np.array_equal(drawn, frames(task, videos, name, num_frames=count))
    assert not np.array_equal(drawn, frames(task, videos, name, num_frames=count, seed=2))


def own_call(videos: Shelf, name: str, task: VideoTask[Any], count: int) -> np.ndarray:
    """The frames that diffusers gives, as [n, h, w, 3] of uint8."""
    import torch

    pipeline = videos.bundle(name).pipeline
    where = entry(videos.path(name))
    scheduler = pipeline.scheduler.from_config(pipeline.scheduler.config)
    view = view_as(pipeline, where.facts["classes"][task.mode], scheduler)
    ability = ability_of(str(where.kind))
    arguments = {
        "num_frames": count,
        "width": 64,
        "height": 64,
        "num_inference_steps": 2,
        "generator": torch.Generator("cpu").manual_seed(1),
        "output_type": "np",
        **({"prompt": "a red circle"} if ability.reads else {}),
        **({"image": noise(3)} if task is IMAGE else {}),
        **CALLS.get(name, {"guidance_scale": ability.guidance}),
    }
    pixels = np.asarray(view(**arguments).frames[0])
    return (pixels * 255).round().astype(np.uint8)


@each
def test_steps_are_told_and_the_frame_in_the_middle_is_shown(
    videos: Shelf, name: str, task: VideoTask[Any]
) -> None:
    context = Context(entry(videos.path(name)))
    watched, *_ = outputs(task, videos, name, context, steps=3, partial_images=2)
    assert context.steps == [(1, 3), (2, 3), (3, 3)]
    assert [step for step, _ in context.previews] == [1, 2]
    for _, preview in context.previews:
        assert preview.kind == "preview"
        assert preview.value.dtype == np.uint8
        assert preview.value.shape[0] == preview.value.shape[1] < 64
        assert preview.options["size"] == (64, 64)
    plain = frames(task, videos, name, steps=3)
    assert np.array_equal(np.concatenate(list(watched.value.chunks)), plain)


@each
def test_a_cancel_takes_effect_within_a_step_and_within_the_decoder(
    videos: Shelf, name: str, task: VideoTask[Any]
) -> None:
    where, pipeline = entry(videos.path(name)), videos.bundle(name).pipeline
    for component in (_denoiser(pipeline), pipeline.vae.decoder):
        context, finished = Context(where), []

        def stop(*given: Any, context: Context = context) -> None:
            context.stopped = True

        leaf = next(m for m in component.modules() if _is_layer(m))
        hooks = [
            leaf.register_forward_hook(stop),
            component.register_forward_hook(lambda *given, seen=finished: seen.append(1)),
        ]
        try:
            with pytest.raises(Cancelled):
                outputs(task, videos, name, context)
        finally:
            for hook in hooks:
                hook.remove()
        assert context.stopped
        assert finished == []
    stopped = Context(where, stop_at=1)
    with pytest.raises(Cancelled):
        outputs(task, videos, name, stopped)
    assert len(stopped.steps) == 1
    assert frames(task, videos, name).shape == (9, 64, 64, 3)


def _denoiser(pipeline: Any) -> Any:
    return getattr(pipeline, "unet", None) or pipeline.transformer


def _is_layer(module: Any) -> bool:
    has_parts = next(module.children(), None) is not None
    return not has_parts and next(module.parameters(), None) is not None
