"""What a LoRA file is, by the names and shapes of its tensors alone."""

from __future__ import annotations

import json
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
        "xlabs": (".down.weight", ".up.weight"),
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
        (pair("double_blocks.3.processor.qkv_lora1", 3072, names="xlabs"), "flux"),
        (pair("single_blocks.3.processor.qkv_lora", 3072, names="xlabs"), "flux"),
        (pair("base_model.model.double_blocks.0.img_attn.qkv", 3072, names="peft"), "flux"),
        (pair("lora_unet_joint_blocks_3_x_block_attn_qkv", 1536), "sd3"),
        (pair("diffusion_model.joint_blocks.0.context_block.attn.qkv", 2432, names="peft"), "sd3"),
        (pair("lora_transformer_transformer_blocks_0_attn_to_q", 1536), "sd3"),
        (pair("lycoris_transformer_blocks_0_attn_to_q", 2432), "sd3"),
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
    t5 = "text_encoders.t5xxl.transformer.encoder.block.0.layer.0.SelfAttention.q"
    match = matched(tmp_path, both | pair(t5, 8, names="peft"))
    assert match is not None
    assert match.facts["components"] == ["denoiser", "text_encoder", "text_encoder_3"]


@pytest.mark.parametrize(
    "tensors",
    [
        {"model.diffusion_model.input_blocks.0.0.weight": np.zeros((4, 4), np.float16)},
        {"alphas_cumprod": np.zeros(4, np.float16), "x.alpha": np.zeros(1, np.float16)},
        pair("base_model.model.model.layers.0.self_attn.q_proj", 64, names="peft"),
        pair("base_model.model.transformer.h.0.attn.c_attn", 64, names="peft"),
        {"emb_params": np.zeros((2, 768), np.float16)},
    ],
    ids=["checkpoint", "alpha", "language", "other-language", "inversion"],
)
def test_other_files_are_not_taken(tmp_path, tensors):
    assert matched(tmp_path, tensors) is None


@pytest.mark.parametrize(
    ("added", "reason"),
    [
        ({"lora_unet_mid_block_x.dora_scale": (8,)}, "has only dora_scale"),
        ({f"lora_unet_{TO_K}.w_norm": (8,)}, "trained norms"),
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


def test_an_alpha_that_is_a_complex_number_is_broken_and_a_whole_one_is_not(tmp_path):
    alpha = f"lora_unet_{TO_K}.alpha"
    tensors = pair(f"lora_unet_{TO_K}", 768)
    assert matched(tmp_path, {**tensors, alpha: np.array(4, np.int64)}) is not None
    with pytest.raises(ModelBroken, match=r"alpha is of C64; save it in F16 or BF16"):
        matched(tmp_path, {**tensors, alpha: np.array(1 + 1j, np.complex64)})


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("dora_scale", (8, 1)),
        ("dora_scale", (1, 768)),
        ("lora_magnitude_vector", (8,)),
        ("lora_magnitude_vector.weight", (8,)),
        ("lora_magnitude_vector.default.weight", (8,)),
    ],
)
def test_doras_are_loras(tmp_path, name, size):
    lengths = {f"lora_unet_{TO_K}.{name}": np.zeros(size, np.float16)}
    match = matched(tmp_path, pair(f"lora_unet_{TO_K}", 768) | lengths)
    assert match is not None
    assert match.facts["base"] == "sd1"


def folder_of(place: Path, tensors: dict[str, Any], **config: Any) -> Path:
    """An adapter as PEFT saves it."""
    save_file(tensors, place / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": RANK, "lora_alpha": 4, **config}
    (place / "adapter_config.json").write_text(json.dumps(told))
    return place


def test_one_in_pefts_own_layout_needs_its_configuration_beside_it(tmp_path):
    tensors = pair("base_model.model.down_blocks.1.attentions.0.attn2.to_k", 768, names="peft")
    with pytest.raises(ModelBroken, match=r"lies in adapter_config\.json; put both into a folder"):
        matched(tmp_path, tensors)
    text = pair("base_model.model.text_model.encoder.layers.0.mlp.fc1", 8, names="peft")
    (tmp_path / "ink").mkdir()
    on_disk = open_on_disk(folder_of(tmp_path / "ink", tensors | text))
    match = Lora().matches(on_disk)
    assert match is not None
    assert match.facts == {"components": ["denoiser", "text_encoder"], "base": "sd1"}
    assert Lora().estimate(on_disk, CPU) == 4 * RANK * (768 + 8 + 8 + 8)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"peft_type": "LOHA"}, "says that it is LOHA"),
        ({"peft_type": None}, "says that it is None"),
        ({"lora_alpha": None}, "has no lora_alpha"),
        ({"lora_alpha": True}, "has no lora_alpha"),
        ({"lora_alpha": 10**400}, "has no lora_alpha"),
        ({"init_lora_weights": "pissa_niter_16"}, "changed the model too"),
        ({"alpha_pattern": {"(a+)+$": 1}}, "the expression"),
        ({"alpha_pattern": {r"down_blocks\.\d\.attn2": 1}}, "the expression"),
    ],
)
def test_configurations_that_cannot_be_followed_are_broken_and_named(tmp_path, config, reason):
    tensors = pair("base_model.model.down_blocks.1.attentions.0.attn2.to_k", 768, names="peft")
    with pytest.raises(ModelBroken, match=reason):
        Lora().matches(open_on_disk(folder_of(tmp_path, tensors, **config)))


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
