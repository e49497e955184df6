"""Family `motion_adapter`: a bare adapter over an installed Stable Diffusion."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, ModelBroken
from onebox.core.on_disk import Match
from onebox.families.motion_adapter import MotionAdapter
from onebox.registry.components import completed, sources_of
from onebox.registry.on_disk import open_on_disk
from tests.families import pictures
from tests.families.filming import TEXT, Context, resolved
from tests.families.pictures import assert_alike, device
from tests.families.tiny_videos import motion_adapter

FAMILY = MotionAdapter()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "moves"
    motion_adapter(folder, frames=12)
    return folder


def match(folder: Path) -> Match:
    found = FAMILY.matches(open_on_disk(folder))
    assert found is not None
    return found


def over(adapter: Path, base: Path) -> Entry:
    """As the registry knows it when the other one is installed."""
    found = match(adapter)
    alone = replace(
        pictures.entry(base),
        name="moves",
        path=str(adapter),
        family=FAMILY.name,
        kind=found.kind,
        facts=dict(found.facts),
        tasks=("text-to-video",),
    )
    installed = replace(pictures.entry(base), tasks=("text-to-image",))
    return completed(alone, sources_of((alone, installed)), lambda family, own: tuple(own or ()))


def test_it_films_with_the_model_that_it_stands_on(adapter: Path, tiny_sd: Path) -> None:
    import torch
    from diffusers import AnimateDiffPipeline, StableDiffusionPipeline

    where = over(adapter, tiny_sd)
    assert where.status == "ready"
    bundle = FAMILY.load(where, device())
    assert bundle.pipeline.motion_adapter is None
    request = resolved(TEXT, where, width=None, height=None, num_frames=None, seed=5)
    assert (request.width, request.height, request.num_frames) == (64, 64, 12)
    video, *_ = TEXT.run(bundle, request, Context(where))
    base = StableDiffusionPipeline.from_pretrained(tiny_sd)
    names = ("vae", "text_encoder", "tokenizer", "unet", "scheduler")
    parts = {name: base.components[name] for name in names}
    own = AnimateDiffPipeline(**parts, motion_adapter=motion_adapter(frames=12))(
        "a red circle",
        num_frames=12,
        num_inference_steps=2,
        guidance_scale=7.5,
        generator=torch.Generator("cpu").manual_seed(5),
        output_type="np",
    )
    expected = (np.asarray(own.frames[0]) * 255).round().astype(np.uint8)
    assert_alike(np.concatenate(list(video.value.chunks)), expected)


def test_more_frames_than_it_has_places_for_are_refused(adapter: Path, tiny_sd: Path) -> None:
    where = over(adapter, tiny_sd)
    with pytest.raises(InvalidInput, match="12 frames at most") as caught:
        resolved(TEXT, where, num_frames=13)
    assert caught.value.param == "num_frames"
    # Seconds alone are filled with what there is.
    request = resolved(TEXT, where, num_frames=None, duration=4.0)
    assert (request.num_frames, request.fps) == (12, 3)


def test_without_a_model_that_it_fits_it_is_broken(adapter: Path, tiny_sd: Path) -> None:
    where = over(adapter, tiny_sd)
    wide = replace(where, facts={**where.facts, "wants": {"widths": [320, 640]}}, components={})
    installed = pictures.entry(tiny_sd)
    found = completed(wide, sources_of((installed,)), lambda family, own: ())
    assert found.status == "broken"
    assert found.reason is not None
    assert "no Stable Diffusion model" in found.reason


def test_the_estimate_is_more_than_its_own_weights(adapter: Path) -> None:
    own = sum(file.stat().st_size for file in adapter.glob("*.safetensors"))
    assert FAMILY.estimate(open_on_disk(adapter), device()) > own


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: next(folder.glob("*.safetensors")).unlink(), "copy the whole folder"),
        (
            lambda folder: (folder / "config.json").write_text(
                '{"_class_name": "MotionAdapter", "conv_in_channels": 9}'
            ),
            "PIA",
        ),
    ],
)
def test_what_cannot_be_used_is_said(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    motion_adapter(tmp_path / "moves")
    spoil(tmp_path / "moves")
    with pytest.raises(ModelBroken, match=reason):
        match(tmp_path / "moves")


def test_another_folder_is_not_its_own(tiny_sd: Path) -> None:
    assert FAMILY.matches(open_on_disk(tiny_sd)) is None
