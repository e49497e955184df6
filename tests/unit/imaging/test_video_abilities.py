"""What is known of video checkpoints from their configurations."""

from __future__ import annotations

from typing import Any

import pytest

from onebox.imaging.video import abilities
from onebox.imaging.video.abilities import facts_of, frames_below, frames_near

WAN_VAE = {"_class_name": "AutoencoderKLWan"}
IMAGE_VAE = {"_class_name": "AutoencoderKL", "block_out_channels": [128, 256, 512, 512]}


def facts(class_name: str, index: dict[str, Any] | None = None, **configs: Any) -> dict[str, Any]:
    return facts_of(class_name, index or {}, configs)


def test_every_class_has_usual_numbers_that_it_can_draw() -> None:
    for name in abilities.class_names():
        ability, told = abilities.ability_of(name), facts(name)
        assert frames_near(told["num_frames"], ability.grid) == told["num_frames"]
        assert told["width"] % told["multiple"] == told["height"] % told["multiple"] == 0
        assert set(told["classes"]) <= abilities.TASK_NAMES
        assert ability.guidance_argument in {"guidance_scale", "max_guidance_scale"}


def test_some_weights_serve_both_tasks() -> None:
    for name in ("LTXPipeline", "LTXImageToVideoPipeline"):
        assert facts(name)["classes"] == {
            "text-to-video": "LTXPipeline",
            "image-to-video": "LTXImageToVideoPipeline",
        }
    assert set(facts("WanPipeline")["classes"]) == {"text-to-video"}
    both = facts("WanPipeline", {"expand_timesteps": True}, vae=WAN_VAE)
    assert set(both["classes"]) == {"text-to-video", "image-to-video"}
    assert (both["width"], both["height"], both["fps"], both["multiple"]) == (1280, 704, 24, 32)


def test_sizes_and_frames_come_from_the_configurations() -> None:
    motion = facts(
        "AnimateDiffPipeline", unet={"sample_size": 32, "motion_max_seq_length": 12}, vae=IMAGE_VAE
    )
    assert (motion["width"], motion["height"]) == (256, 256)
    assert (motion["num_frames"], motion["max_frames"]) == (12, 12)
    svd = facts(
        "StableVideoDiffusionPipeline",
        unet={"sample_size": 96, "num_frames": 14},
        vae={**IMAGE_VAE, "_class_name": "AutoencoderKLTemporalDecoder"},
    )
    assert (svd["width"], svd["height"], svd["num_frames"]) == (1024, 576, 14)
    transformer = {
        "_class_name": "CogVideoXTransformer3DModel",
        "sample_width": 170,
        "sample_height": 96,
        "sample_frames": 81,
        "patch_size_t": 2,
    }
    frames_vae = {**IMAGE_VAE, "_class_name": "AutoencoderKLCogVideoX"}
    cogvideox = facts("CogVideoXPipeline", transformer=transformer, vae=frames_vae)
    assert (cogvideox["width"], cogvideox["height"]) == (1360, 768)
    assert (cogvideox["num_frames"], cogvideox["fps"]) == (81, 16)


def test_hunyuan_gives_fewer_frames_where_it_drops_those_of_its_picture() -> None:
    name = "HunyuanVideoImageToVideoPipeline"
    dropping = facts(name, transformer={"image_condition_type": "latent_concat"})
    keeping = facts(name, transformer={"image_condition_type": "token_replace"})
    assert (dropping["num_frames"], keeping["num_frames"]) == (125, 129)


@pytest.mark.parametrize(
    ("asked", "grid", "near", "below"),
    [
        (64, 4, 65, 61),
        (65, 4, 65, 65),
        (66.9, 4, 65, 65),
        (49, 8, 49, 49),
        (52, 8, 49, 49),
        (1, 8, 1, 1),
        (0.4, 4, 1, 1),
        (14, 1, 14, 14),
    ],
)
def test_frames_are_rounded_to_what_a_pipeline_draws(
    asked: float, grid: int, near: int, below: int
) -> None:
    assert frames_near(asked, grid) == near
    assert frames_below(int(asked), grid) == below
