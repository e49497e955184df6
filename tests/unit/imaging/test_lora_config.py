"""What a configuration says of the strength of each layer of a LoRA."""

from __future__ import annotations

import math
from typing import Any

import pytest

from onebox.imaging.diffusion.lora_config import Strengths
from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName

LAYER = LayerName(DENOISER, "transformer_blocks_0_attn_to_q")


def alpha(values: dict[str, Any], layer: LayerName = LAYER) -> float | None:
    return Strengths(values, bare=True).alpha(layer)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ({}, 8.0),
        ({"to_q": 1}, 1.0),
        ({"attn.to_q": 2.5}, 2.5),
        ({"transformer_blocks.0.attn.to_q": 3}, 3.0),
        ({"^transformer_blocks\\.0\\.attn\\.to_q$": 3}, 3.0),
        ({"transformer_blocks.1.attn.to_q": 3}, 8.0),
        ({"o_q": 3}, 8.0),
        ({"^to_q": 3}, 8.0),
        ({"to_q": 1, "attn.to_q": 2}, 1.0),
        ({"attn.to_q": 2, "to_q": 1}, 2.0),
        ({"to_q": "much"}, 8.0),
    ],
)
def test_a_pattern_is_the_end_of_a_layers_name_and_the_first_counts(pattern, expected):
    assert alpha({"lora_alpha": 8, "alpha_pattern": pattern}) == expected


def test_the_whole_name_of_a_layer_outside_of_all_blocks_is_not_the_end_of_another():
    said = {"lora_alpha": 8, "alpha_pattern": {"^proj_out": 2}}
    inner = LayerName(DENOISER, "single_transformer_blocks_0_proj_out")
    assert alpha(said, inner) == 8.0
    assert alpha(said, LayerName(DENOISER, "proj_out")) == 2.0


def test_metadata_say_it_of_each_component():
    said = {"unet.lora_alpha": 3, "text_encoder.lora_alpha": 5, "unet.use_rslora": True}
    strengths = Strengths(said)
    text = LayerName("text_encoder", "encoder_layers_0_mlp_fc1")
    assert (strengths.alpha(LAYER), strengths.rooted(LAYER)) == (3.0, True)
    assert (strengths.alpha(text), strengths.rooted(text)) == (5.0, False)
    assert strengths.alpha(LayerName("text_encoder_2", "a")) is None


@pytest.mark.parametrize("value", [None, "8", [], True, {}])
def test_what_is_no_number_says_nothing(value):
    assert alpha({"lora_alpha": value, "alpha_pattern": value}) is None


def test_a_number_that_is_too_large_is_infinite():
    assert alpha({"lora_alpha": 10**400}) == math.inf


def test_of_a_name_of_very_many_pieces_the_end_is_looked_up():
    said = {"lora_alpha": 8, "alpha_pattern": {f"layer.{i}": i for i in range(10_000)}}
    strengths = Strengths(said, bare=True)
    layer = LayerName(DENOISER, "_".join(["x"] * 100_000 + ["layer", "77"]))
    assert [strengths.alpha(layer) for _ in range(100)] == [77.0] * 100
