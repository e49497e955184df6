"""Which of two kinds of equal shapes a file says it is."""

from __future__ import annotations

import pytest

from onebox.imaging.checkpoints.told import told


@pytest.mark.parametrize(
    ("said", "name", "expected"),
    [
        ({}, "flux1-dev.safetensors", None),
        ({}, "flux1-dev-kontext_fp8_scaled.safetensors", "flux-kontext"),
        ({}, "FLUX.1-Kontext-dev.safetensors", "flux-kontext"),
        ({"architecture": "flux-1-kontext"}, "mine.safetensors", "flux-kontext"),
        ({"title": "Flux1 Kontext Dev"}, "mine.safetensors", "flux-kontext"),
        ({"architecture": "flux-1-dev", "title": "mine"}, "mine.safetensors", None),
    ],
)
def test_kontext_is_told_from_dev(said, name, expected):
    assert told("flux-dev", {f"modelspec.{k}": v for k, v in said.items()}, name) == expected


@pytest.mark.parametrize(
    ("said", "name", "is_small"),
    [
        ({}, "mine.safetensors", False),
        ({}, "v2-1_512-ema-pruned.safetensors", True),
        ({}, "512-base-ema.ckpt", True),
        ({}, "stable-diffusion-2-1-base.safetensors", True),
        ({}, "sd_v2.base.safetensors", True),
        ({}, "v2-1_768-ema-pruned.safetensors", False),
        ({}, "768-v-ema.ckpt", False),
        ({}, "v2-1_768-nonema-from-512.safetensors", False),
        ({}, "epoch-15120.safetensors", False),
        ({}, "my-database.safetensors", False),
        ({"prediction_type": "epsilon"}, "v2-1_768.safetensors", True),
        ({"predict_key": "epsilon"}, "v2-1_768.safetensors", True),
        ({"prediction_type": "v"}, "v2-1_512.safetensors", False),
        ({"predict_key": "v"}, "v2-1_512.safetensors", False),
        ({"architecture": "stable-diffusion-v2-512"}, "768.safetensors", True),
        ({"architecture": "stable-diffusion-v2-768-v"}, "512.safetensors", False),
        ({"architecture": "stable-diffusion-v2-768-v", "resolution": "512x512"}, "a", False),
        ({"resolution": "512x512"}, "mine.safetensors", True),
        ({"resolution": "768x768"}, "512.safetensors", False),
        ({"prediction_type": "\x00" * 150, "architecture": "{}"}, "mine.safetensors", False),
    ],
)
def test_the_second_one_of_512_pixels_is_told_from_that_of_768(said, name, is_small):
    found = told("sd2", {f"modelspec.{k}": v for k, v in said.items()}, name)
    assert found == ("sd2-base" if is_small else None)


@pytest.mark.parametrize("tree", ["sd1", "sdxl", "sd3-medium", "flux-schnell"])
def test_other_shapes_have_no_kin_that_a_name_could_tell(tree):
    assert told(tree, {"modelspec.title": "kontext 512"}, "kontext-512.safetensors") is None
