"""Pictures as prompts: an IP-Adapter beside a tiny Stable Diffusion, set in and taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from onebox.core.contracts import Entry
from onebox.core.errors import Cancelled, InvalidInput
from onebox.families.ip_adapter import IpAdapter
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.imaging.diffusion.drawing import draw
from onebox.imaging.diffusion.recipe import Picture, Recipe
from tests.families import tiny_image_prompts as tiny
from tests.families import tiny_stable_diffusions
from tests.families.pictures import FAMILY, Context, assert_alike, device, entry

GARMENT, OTHER = tiny.picture(1), tiny.picture(2)
RECIPE = Recipe("text-to-image", 64, 64, 2, 5.0, image_prompt=1.0)
PLAIN = replace(RECIPE, image_prompt=None)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    tiny.image_encoder(folder / "encoder")
    tiny.ip_adapter(folder / "plain.safetensors")
    tiny.ip_adapter(folder / "plus.safetensors", plus=True)
    return folder


class Prompted(Context):
    """A context with an IP-Adapter and its encoder."""

    def __init__(self, folder: Path, companions: Mapping[str, Entry], **options: Any) -> None:
        super().__init__(folder, **options)
        self.companions = companions


@pytest.fixture(params=["plain", "plus"])
def context(request: pytest.FixtureRequest, tiny_sd: Path, shelf: Path) -> Prompted:
    adapter = shelf / f"{request.param}.safetensors"
    return Prompted(tiny_sd, tiny.companions(adapter, shelf / "encoder"))


def asked(seed: int, *references: Any) -> Picture:
    return Picture("a coat", None, seed, references=references)


def drawn(
    bundle: PipelineBundle, recipe: Recipe, context: Any, *pictures: Picture, batch: int = 1
) -> list[np.ndarray]:
    images = draw(bundle, pictures, recipe, batch, context)
    return [np.asarray(image) for image in images]


def test_the_picture_follows_its_reference(bundle: PipelineBundle, context: Prompted):
    (plain,) = drawn(bundle, PLAIN, context, asked(1))
    (one,) = drawn(bundle, RECIPE, context, asked(1, GARMENT))
    (two,) = drawn(bundle, RECIPE, context, asked(1, OTHER))
    assert not np.array_equal(plain, one)
    assert not np.array_equal(one, two)


def test_a_reference_without_strength_changes_nothing(bundle: PipelineBundle, context: Prompted):
    (plain,) = drawn(bundle, PLAIN, context, asked(1))
    (none,) = drawn(bundle, replace(RECIPE, image_prompt=0.0), context, asked(1, GARMENT))
    assert np.array_equal(plain, none)


def test_the_denoiser_is_left_bit_for_bit_as_it_was(bundle: PipelineBundle, context: Prompted):
    unet = bundle.pipeline.unet
    before, processors = drawn(bundle, PLAIN, context, asked(1)), unet.attn_processors
    names = set(unet.state_dict())
    drawn(bundle, RECIPE, context, asked(1, GARMENT))
    assert np.array_equal(before, drawn(bundle, PLAIN, context, asked(1)))
    assert unet.attn_processors == processors
    assert set(unet.state_dict()) == names
    assert unet.encoder_hid_proj is None
    assert unet.config.encoder_hid_dim_type is None


def test_a_cancel_in_the_middle_leaves_nothing_behind(
    bundle: PipelineBundle, context: Prompted, tiny_sd: Path
):
    before = drawn(bundle, PLAIN, context, asked(1))
    stopping = Prompted(tiny_sd, context.companions, stop_at=1)
    with pytest.raises(Cancelled):
        drawn(bundle, RECIPE, stopping, asked(1, GARMENT))
    assert np.array_equal(before, drawn(bundle, PLAIN, context, asked(1)))


def test_all_pictures_of_a_call_follow_the_reference(bundle: PipelineBundle, context: Prompted):
    pictures = [asked(seed, GARMENT) for seed in (1, 2, 3)]
    together = drawn(bundle, RECIPE, context, *pictures, batch=3)
    for picture, image in zip(pictures, together, strict=True):
        assert_alike(image, drawn(bundle, RECIPE, context, picture)[0])


def test_without_guidance_there_is_nothing_to_lead_away_from(
    bundle: PipelineBundle, context: Prompted
):
    unguided = replace(RECIPE, guidance_scale=1.0)
    (one,) = drawn(bundle, unguided, context, asked(1, GARMENT))
    (two,) = drawn(bundle, unguided, context, asked(1, OTHER))
    assert not np.array_equal(one, two)


def test_attention_in_slices_works_too_and_stays(bundle: PipelineBundle, context: Prompted):
    (whole,) = drawn(bundle, RECIPE, context, asked(1, GARMENT))
    pipeline = bundle.pipeline
    pipeline.enable_attention_slicing(1)
    try:
        kinds = {type(processor) for processor in pipeline.unet.attn_processors.values()}
        assert_alike(whole, drawn(bundle, RECIPE, context, asked(1, GARMENT))[0])
        assert {type(p) for p in pipeline.unet.attn_processors.values()} == kinds
    finally:
        pipeline.disable_attention_slicing()


def test_it_equals_what_the_library_makes_of_the_same_files(
    bundle: PipelineBundle, shelf: Path, tiny_sd: Path
):
    """Of a square reference: others are cut by the library, and shown whole here."""
    import torch
    from diffusers import StableDiffusionPipeline

    square = tiny.picture(5, (tiny.SIDE, tiny.SIDE))
    context = Prompted(tiny_sd, tiny.companions(shelf / "plain.safetensors", shelf / "encoder"))
    (ours,) = drawn(bundle, RECIPE, context, asked(7, square))
    peer: Any = StableDiffusionPipeline.from_pretrained(tiny_sd, local_files_only=True)
    peer.set_progress_bar_config(disable=True)
    peer.load_ip_adapter(shelf.as_posix(), "", "plain.safetensors", image_encoder_folder="encoder")
    result = peer(
        "a coat",
        width=64,
        height=64,
        num_inference_steps=2,
        guidance_scale=5.0,
        ip_adapter_image=square,
        generator=torch.Generator().manual_seed(7),
    )
    assert_alike(ours, np.asarray(result.images[0]))


@pytest.mark.parametrize("wrong", [{"layers": 3}, {"cross": 48}])
def test_an_adapter_for_another_denoiser_is_refused_and_leaves_nothing(
    bundle: PipelineBundle, shelf: Path, tiny_sd: Path, tmp_path: Path, wrong: dict[str, int]
):
    other = tiny.ip_adapter(tmp_path / "other.safetensors", **wrong)
    context = Prompted(tiny_sd, tiny.companions(other, shelf / "encoder"))
    with pytest.raises(InvalidInput, match="do not fit") as caught:
        drawn(bundle, RECIPE, context, asked(1, GARMENT))
    assert caught.value.param == "ip_adapter"
    assert bundle.pipeline.unet.encoder_hid_proj is None


@pytest.mark.parametrize("mode", ["text-to-image", "inpainting"])
def test_it_works_with_xl_too(shelf: Path, tmp_path: Path, mode: Any):
    folder = tiny_stable_diffusions.xl(tmp_path / "xl")
    loaded = FAMILY.load(entry(folder), device())
    assert isinstance(loaded, PipelineBundle)
    width = loaded.pipeline.unet.config.cross_attention_dim
    adapter = tiny.ip_adapter(tmp_path / "xl.safetensors", cross=width)
    context = Prompted(folder, tiny.companions(adapter, shelf / "encoder"))
    recipe = replace(RECIPE, mode=mode, strength=1.0 if mode == "inpainting" else None)
    start, hole = tiny.picture(8, (64, 64)), Image.new("L", (64, 64), 255)

    def asked_of(reference: Any) -> Picture:
        return Picture("a coat", None, 1, image=start, mask=hole, references=(reference,))

    (one,) = drawn(loaded, recipe, context, asked_of(GARMENT))
    (two,) = drawn(loaded, recipe, context, asked_of(OTHER))
    assert not np.array_equal(one, two)


def test_an_encoder_for_another_adapter_is_refused(
    bundle: PipelineBundle, shelf: Path, tiny_sd: Path, tmp_path: Path
):
    other = tiny.image_encoder(tmp_path / "other", projection=40)
    context = Prompted(tiny_sd, tiny.companions(shelf / "plain.safetensors", other))
    with pytest.raises(InvalidInput, match="projection_dim of 40") as caught:
        drawn(bundle, RECIPE, context, asked(1, GARMENT))
    assert caught.value.param == "image_encoder"


def test_the_facts_say_what_goes_together(shelf: Path):
    encoder = tiny.companions(shelf / "plain.safetensors", shelf / "encoder")["image_encoder"]
    plain = tiny.companion(IpAdapter(), shelf / "plain.safetensors")
    plus = tiny.companion(IpAdapter(), shelf / "plus.safetensors")
    assert encoder.facts == {"projection_dim": 24, "hidden_size": 32, "image_size": 32}
    assert plain.facts["projection_dim"] == 24
    assert plus.facts["hidden_size"] == 32
    assert plain.facts["text_width"] == 32
    assert plain.facts["layers"] == 4


def test_it_works_in_half_precision_too(shelf: Path, tiny_sd: Path):
    loaded = FAMILY.load(entry(tiny_sd), device("bfloat16"))
    assert isinstance(loaded, PipelineBundle)
    context = Prompted(tiny_sd, tiny.companions(shelf / "plus.safetensors", shelf / "encoder"))
    (one,) = drawn(loaded, RECIPE, context, asked(1, GARMENT))
    (two,) = drawn(loaded, RECIPE, context, asked(1, OTHER))
    assert not np.array_equal(one, two)
