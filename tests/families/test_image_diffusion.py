"""Family `image_diffusion` and task `text-to-image` on a tiny random Stable Diffusion."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from onebox.core.contracts import TaskDefaults
from onebox.core.errors import Cancelled, InvalidInput, ModelBroken
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.text_to_image import TextToImageInput
from tests.families.pictures import FAMILY, TASK, Context, device, draw, entry, resolve


def test_it_knows_its_own_and_the_native_size(tiny_sd: Path) -> None:
    match = FAMILY.matches(open_on_disk(tiny_sd))
    assert match is not None
    assert match.kind == "StableDiffusionPipeline"
    known = {"native_size": 64, "base": "sd1", "multiple": 8, "in_channels": 4, "text_width": 32}
    assert {name: match.facts[name] for name in known} == known


def test_another_pipeline_is_not_its_own(tiny_sd: Path, tmp_path: Path) -> None:
    def change(index: dict[str, Any]) -> None:
        index["_class_name"] = "StableVideoDiffusionPipeline"

    assert FAMILY.matches(open_on_disk(_changed(tiny_sd, tmp_path, change))) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda index: index.update(unet=["my_code", "MyUNet"]), "my_code"),
        (lambda index: index.update(unet=["diffusers_modules.local", "X"]), "only components of"),
        (lambda index: index.update(tokenizer_2=["transformers", "CLIPTokenizer"]), "tokenizer_2/"),
        (lambda index: index.update(custom_pipeline="evil"), "remote code"),
    ],
)
def test_a_folder_that_wants_its_own_code_is_refused(
    tiny_sd: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    with pytest.raises(ModelBroken, match=reason):
        FAMILY.matches(open_on_disk(_changed(tiny_sd, tmp_path, change)))


def test_a_safety_checker_as_published_folders_name_it_is_left_out(
    tiny_sd: Path, tmp_path: Path
) -> None:
    """Whether it was copied with the rest or not."""
    checker = ["stable_diffusion", "StableDiffusionSafetyChecker"]
    folder = _changed(tiny_sd, tmp_path, lambda index: index.update(safety_checker=checker))
    assert FAMILY.matches(open_on_disk(folder)) is not None
    loaded = FAMILY.load(entry(folder), device())
    assert loaded.pipeline.safety_checker is None
    shutil.copytree(folder / "vae", folder / "safety_checker")
    assert FAMILY.matches(open_on_disk(folder)) is not None


def test_python_beside_the_weights_is_never_run(tiny_sd: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_sd, tmp_path, lambda index: None)
    for name in ("pipeline.py", "unet/unet.py", "unet/my_code.py"):
        (folder / name).write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    FAMILY.load(entry(folder), device())
    assert not (tmp_path / "ran").exists()


def test_pickled_weights_are_refused(tiny_sd: Path, tmp_path: Path) -> None:
    folder = _changed(tiny_sd, tmp_path, lambda index: None)
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(ModelBroken, match="pickle"):
        FAMILY.matches(open_on_disk(folder))


@pytest.mark.parametrize(("dtype", "vae_dtype"), [("float32", "float32"), ("bfloat16", "float32")])
def test_the_estimate_is_what_is_measured(tiny_sd: Path, dtype: str, vae_dtype: str) -> None:
    where = device(dtype, vae_dtype)
    loaded = FAMILY.load(entry(tiny_sd), where)
    estimate = FAMILY.estimate(open_on_disk(tiny_sd), where)
    assert estimate == pytest.approx(loaded.size_bytes, rel=0.02)


def test_weights_and_decoder_may_differ_in_dtype(tiny_sd: Path) -> None:
    loaded = FAMILY.load(entry(tiny_sd), device("bfloat16", "float32"))
    assert isinstance(loaded, PipelineBundle)
    (picture,) = draw(loaded, tiny_sd, seed=1)
    assert picture.shape == (64, 64, 3)
    assert picture.std() > 0


def test_the_checkpoints_own_dtype_wins(tiny_sd: Path) -> None:
    loaded = FAMILY.load(entry(tiny_sd, dtype="float16"), device())
    assert isinstance(loaded, PipelineBundle)
    assert str(loaded.pipeline.unet.dtype) == "torch.float16"


def test_prompts_guidance_and_negative_prompts_have_effects(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    (plain,) = draw(bundle, tiny_sd, seed=3)
    (negative,) = draw(bundle, tiny_sd, seed=3, negative_prompt="blue")
    (guided,) = draw(bundle, tiny_sd, seed=3, guidance_scale=9.0)
    assert not np.array_equal(plain, negative)
    assert not np.array_equal(plain, guided)


def test_steps_are_told_over_all_pictures_and_stopped_at_one(
    bundle: PipelineBundle, tiny_sd: Path
) -> None:
    request = TextToImageInput(
        prompt="x", steps=3, n=2, width=64, height=64, seed=1, guidance_scale=5, deterministic=True
    )
    context = Context(tiny_sd)
    TASK.run(bundle, request, context)
    assert context.steps == [(step, 6) for step in range(1, 7)]
    stopped = Context(tiny_sd, stop_at=4)
    with pytest.raises(Cancelled):
        TASK.run(bundle, request, stopped)
    assert len(stopped.steps) == 4
    (before,), (after,) = draw(bundle, tiny_sd, seed=5), draw(bundle, tiny_sd, seed=5)
    assert np.array_equal(before, after)


def test_open_fields_come_from_the_checkpoint_then_from_the_server(tiny_sd: Path) -> None:
    asked = TextToImageInput(prompt="x", width=128)
    server = TaskDefaults(steps=30, guidance_scale=7.5)
    resolved = TASK.resolve(asked, entry(tiny_sd, defaults={"guidance_scale": 3.0}), server)
    assert (resolved.width, resolved.height) == (128, 64)
    assert (resolved.steps, resolved.guidance_scale) == (30, 3.0)
    assert resolved.seed is not None


def test_too_many_pixels_are_refused(tiny_sd: Path) -> None:
    TASK.check(resolve(tiny_sd, width=2048, height=2048), entry(tiny_sd))
    with pytest.raises(ValueError, match="2048"):
        TextToImageInput(prompt="x", width=2056)
    huge = resolve(tiny_sd, width=2048, height=2048).model_copy(update={"width": 4096})
    with pytest.raises(InvalidInput):
        TASK.check(huge, entry(tiny_sd))


def test_a_side_that_would_be_rounded_is_refused(tiny_sd: Path) -> None:
    request = resolve(tiny_sd, width=72, height=64)
    TASK.check(request, entry(tiny_sd))
    coarse = replace(entry(tiny_sd), facts={"multiple": 16})
    with pytest.raises(InvalidInput, match="64 or 80") as caught:
        TASK.check(request, coarse)
    assert caught.value.param == "width"


def _changed(folder: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A copy of the checkpoint with another `model_index.json`."""
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    index = json.loads((copy / "model_index.json").read_text())
    change(index)
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy
