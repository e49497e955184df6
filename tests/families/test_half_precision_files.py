"""Folders whose weights lie there in half precision, too or only."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file

from onebox.registry.on_disk import open_on_disk
from tests.families.pictures import FAMILY, device, draw, entry


@pytest.fixture(scope="module")
def halved(tiny_sd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of fp16 weights alone, as `save_pretrained(variant=...)` writes it."""
    folder = tmp_path_factory.mktemp("halved") / "sd"
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd, dtype=torch.float16)
    pipeline.save_pretrained(folder, variant="fp16")
    return folder


def test_half_precision_alone_is_loaded(tiny_sd: Path, halved: Path) -> None:
    assert not list(halved.glob("unet/*model.safetensors"))
    assert FAMILY.matches(open_on_disk(halved)) is not None
    (whole,), (half,) = (
        draw(FAMILY.load(entry(f), device()), f, seed=3) for f in (tiny_sd, halved)
    )
    assert np.abs(whole.astype(int) - half.astype(int)).max() <= 2


def test_what_lies_there_twice_is_counted_once_and_drawn_from_the_more_exact(
    tiny_sd: Path, halved: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    shutil.copytree(tiny_sd, both)
    shutil.copytree(halved, both, dirs_exist_ok=True)
    sizes = {FAMILY.estimate(open_on_disk(f), device()) for f in (tiny_sd, halved, both)}
    assert len(sizes) == 1
    (alone,), (picture,) = (
        draw(FAMILY.load(entry(f), device()), f, seed=3) for f in (tiny_sd, both)
    )
    assert np.array_equal(alone, picture)


def test_a_part_that_is_left_out_does_not_choose_for_the_others(
    tiny_sd: Path, halved: Path, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    shutil.copytree(tiny_sd, both)
    shutil.copytree(halved / "unet", both / "unet", dirs_exist_ok=True)
    index = json.loads((both / "model_index.json").read_text())
    index["image_encoder"] = ["transformers", "CLIPVisionModelWithProjection"]
    (both / "model_index.json").write_text(json.dumps(index))
    (both / "image_encoder").mkdir()
    save_file({"weight": torch.ones(1)}, both / "image_encoder" / "model.fp16.safetensors")
    assert FAMILY.estimate(open_on_disk(both), device()) == FAMILY.estimate(
        open_on_disk(tiny_sd), device()
    )
    plain, given = (FAMILY.load(entry(f), device()).pipeline.unet for f in (tiny_sd, both))
    for name, weight in plain.state_dict().items():
        assert torch.equal(weight, given.state_dict()[name]), name
