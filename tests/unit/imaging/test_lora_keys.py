"""What a LoRA file is, by the names and shapes of its tensors alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import Match
from onebox.families.lora import Lora
from onebox.registry.on_disk import open_on_disk
from tests.unit.runtime.clients import CPU

RANK = 2
TO_K = "down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k"


def pair(key: str, inputs: int, outputs: int = 8, names: str = "kohya") -> dict[str, Any]:
    """Two matrices under a key, as trainers of a kind name them."""
    down, up = {
        "kohya": (".lora_down.weight", ".lora_up.weight"),
        "peft": (".lora_A.weight", ".lora_B.weight"),
        "adapter": (".lora_A.default.weight", ".lora_B.default.weight"),
        "diffusers": (".lora.down.weight", ".lora.up.weight"),
        "linear": (".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"),
        "processor": ("_lora.down.weight", "_lora.up.weight"),
    }[names]
    shapes = {f"{key}{down}": (RANK, inputs), f"{key}{up}": (outputs, RANK)}
    return {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}


def matched(folder: Path, tensors: dict[str, Any]) -> Match | None:
    path = folder / "some.safetensors"
    save_file(tensors, path)
    return Lora().matches(open_on_disk(path))


@pytest.mark.parametrize(
    ("tensors", "base"),
    [
        (pair(f"lora_unet_{TO_K}", 768), "sd1"),
        (pair(f"lora_unet_{TO_K}", 1024), "sd2"),
        (pair(f"lora_unet_{TO_K}", 2048), "sdxl"),
        (pair(f"lora_unet_{TO_K}", 1280), "sdxl-refiner"),
        (
            pair("lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_v", 2048),
            "sdxl",
        ),
        (
            pair("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", 768, names="peft"),
            "sd1",
        ),
        (
            pair(
                "unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k",
                768,
                names="processor",
            ),
            "sd1",
        ),
        (
            pair("mid_block.attentions.0.transformer_blocks.0.attn2.to_v", 1024, names="diffusers"),
            "sd2",
        ),
        (
            pair("lora_unet_down_blocks_0_resnets_0_conv1", 320)
            | pair("lora_te2_text_model_encoder_layers_0_mlp_fc1", 1280),
            "sdxl",
        ),
        (pair("lora_unet_double_blocks_0_img_attn_qkv", 3072), "flux"),
        (pair("transformer.single_transformer_blocks.3.attn.to_q", 3072, names="peft"), "flux"),
        (pair("transformer.transformer_blocks.18.attn.to_q", 3072, names="adapter"), "flux"),
        (pair("diffusion_model.double_blocks.0.img_attn.qkv", 3072, names="peft"), "flux"),
        (pair("lora_transformer_single_transformer_blocks_0_attn_to_v", 3072), "flux"),
        (pair("transformer.transformer_blocks.0.attn.add_q_proj", 1536, names="peft"), "sd3"),
        (pair("transformer.transformer_blocks.37.attn.to_q", 2432, names="peft"), "sd3"),
        # The blocks of Qwen-Image have the names and the width of FLUX, and are more.
        (pair("transformer.transformer_blocks.59.attn.to_q", 3072, names="peft"), None),
        # Files that do not tell are compared with the model when they are used.
        (pair(f"lora_unet_{TO_K}", 64), None),
        (pair("lora_unet_down_blocks_0_resnets_0_conv1", 320), None),
        (pair("text_encoder.text_model.encoder.layers.0.mlp.fc1", 768, names="linear"), None),
    ],
)
def test_the_checkpoints_it_is_for_are_told_by_names_and_widths(tmp_path, tensors, base):
    match = matched(tmp_path, tensors)
    assert match is not None
    assert match.facts.get("base") == base


def test_the_components_it_changes_are_facts(tmp_path):
    both = pair(f"lora_unet_{TO_K}", 768) | pair("lora_te_text_model_encoder_layers_0_mlp_fc1", 8)
    match = matched(tmp_path, both)
    assert match is not None
    assert match.facts["components"] == ["denoiser", "text_encoder"]


@pytest.mark.parametrize(
    "tensors",
    [
        {"model.diffusion_model.input_blocks.0.0.weight": np.zeros((4, 4), np.float16)},
        {"alphas_cumprod": np.zeros(4, np.float16), "x.alpha": np.zeros(1, np.float16)},
        pair("base_model.model.model.layers.0.self_attn.q_proj", 64, names="peft"),
        {"emb_params": np.zeros((2, 768), np.float16)},
    ],
    ids=["checkpoint", "alpha", "language", "inversion"],
)
def test_other_files_are_not_taken(tmp_path, tensors):
    assert matched(tmp_path, tensors) is None


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ({f"lora_unet_{TO_K}.dora_scale": (8,)}, "DoRA"),
        ({"lora_unet_mid_block_x.oft_blocks": (4, 2, 2)}, "OFT"),
        ({"lora_unet_mid_block_x.on_input": (4,)}, "IA3"),
        ({"lora_unet_mid_block_x.lora_down.weight": (2, 4)}, "has only down"),
        ({"lora_unet_mid_block_x.lokr_w1": (2, 4)}, "has only lokr_w1"),
        ({f"lora_unet_{TO_K}.alpha": (2,)}, "not one number"),
        ({"something": (2, 4)}, "'something', which belongs to no known layer"),
    ],
)
def test_kinds_that_cannot_be_applied_are_broken_and_named(tmp_path, added, reason):
    more = {name: np.zeros(shape, np.float16) for name, shape in added.items()}
    with pytest.raises(ModelBroken, match=reason):
        matched(tmp_path, pair(f"lora_unet_{TO_K}", 768) | more)


def test_numbers_that_are_none_are_broken(tmp_path):
    whole = {name: x.astype(np.int8) for name, x in pair(f"lora_unet_{TO_K}", 768).items()}
    with pytest.raises(ModelBroken, match="is of I8"):
        matched(tmp_path, whole)


def test_one_in_pefts_own_layout_says_how_to_save_it(tmp_path):
    key = "base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    with pytest.raises(ModelBroken, match="save_lora_weights"):
        matched(tmp_path, pair(key, 64, names="peft"))


def test_lycoris_networks_are_loras(tmp_path):
    names = ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
    shapes = ((8, 2), (2, 768), (8, 2), (2, 768))
    loha = {
        f"lora_unet_{TO_K}.{name}": np.zeros(shape, np.float16)
        for name, shape in zip(names, shapes, strict=True)
    }
    match = matched(tmp_path, loha)
    assert match is not None
    assert match.facts["base"] == "sd1"
    lokr = {f"lora_unet_{TO_K}.lokr_w1": (4, 16), f"lora_unet_{TO_K}.lokr_w2": (2, 128)}
    match = matched(tmp_path, {name: np.zeros(shape, np.float16) for name, shape in lokr.items()})
    assert match is not None
    assert match.facts["base"] == "sdxl"


def test_it_is_sized_in_the_devices_dtype_and_not_loaded_by_itself(tmp_path):
    path = tmp_path / "some.safetensors"
    save_file(pair(f"lora_unet_{TO_K}", 768), path)
    family = Lora()
    assert family.estimate(open_on_disk(path), CPU) == (RANK * 768 + RANK * 8) * 4
    assert family.tasks == frozenset()
    with pytest.raises(TaskNotSupported, match="name it in `loras`"):
        family.load(Entry("k", "some", str(path), ".safetensors", 1, "ready"), CPU)
