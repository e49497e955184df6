"""LoRAs of FLUX and Stable Diffusion 3 by the names of the layouts they were published in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName, read_names
from onebox.imaging.diffusion.lora_targets import targets_of
from tests.families.adapter_files import (
    RANK,
    assert_as_if_merged,
    kohya,
    layers,
    product,
)

# Layers that were one there → ours.
FLUX = {
    "double_blocks.0.img_attn.qkv": [f"transformer_blocks.0.attn.to_{x}" for x in "qkv"],
    "double_blocks.0.txt_attn.qkv": [f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"],
    "double_blocks.0.img_mlp.0": ["transformer_blocks.0.ff.net.0.proj"],
    "double_blocks.0.txt_mod.lin": ["transformer_blocks.0.norm1_context.linear"],
    "single_blocks.0.linear1": [
        *(f"single_transformer_blocks.0.attn.to_{x}" for x in "qkv"),
        "single_transformer_blocks.0.proj_mlp",
    ],
    "single_blocks.0.linear2": ["single_transformer_blocks.0.proj_out"],
    "img_in": ["x_embedder"],
    "guidance_in.in_layer": ["time_text_embed.guidance_embedder.linear_1"],
    "final_layer.linear": ["proj_out"],
}
SD3 = {
    "joint_blocks.0.x_block.attn.qkv": [f"transformer_blocks.0.attn.to_{x}" for x in "qkv"],
    "joint_blocks.0.context_block.attn.qkv": [
        f"transformer_blocks.0.attn.add_{x}_proj" for x in "qkv"
    ],
    "joint_blocks.0.x_block.attn.proj": ["transformer_blocks.0.attn.to_out.0"],
    "joint_blocks.0.x_block.mlp.fc1": ["transformer_blocks.0.ff.net.0.proj"],
    "joint_blocks.0.x_block.mlp.fc2": ["transformer_blocks.0.ff.net.2"],
    "joint_blocks.0.x_block.adaLN_modulation.1": ["transformer_blocks.0.norm1.linear"],
    "context_embedder": ["context_embedder"],
    "y_embedder.mlp.0": ["time_text_embed.text_embedder.linear_1"],
    "t_embedder.mlp.2": ["time_text_embed.timestep_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
}
# Of each block of FLUX, as XLabs names them: our layers of what the pair of matrices is for.
XLABS = {
    "double_blocks.0.processor.qkv_lora1": FLUX["double_blocks.0.img_attn.qkv"],
    "double_blocks.0.processor.qkv_lora2": FLUX["double_blocks.0.txt_attn.qkv"],
    "double_blocks.0.processor.proj_lora1": ["transformer_blocks.0.attn.to_out.0"],
    "double_blocks.0.processor.proj_lora2": ["transformer_blocks.0.attn.to_add_out"],
    "single_blocks.0.processor.qkv_lora": FLUX["single_blocks.0.linear1"][:3],
    "single_blocks.0.processor.proj_lora": ["single_transformer_blocks.0.proj_out"],
}
KOHYA = ("lora_unet_", "_", (".lora_down.weight", ".lora_up.weight"))
FAL = ("base_model.model.", ".", (".lora_A.weight", ".lora_B.weight"))
GENERIC = ("diffusion_model.", ".", (".lora_A.weight", ".lora_B.weight"))
OF_XLABS = ("", ".", (".down.weight", ".up.weight"))


def pairs(
    transformer: Any, parts: Mapping[str, list[str]], style: tuple[str, str, tuple[str, str]]
) -> tuple[dict[str, Any], dict[tuple[str, str], Any]]:
    """(tensors of a file, what they come to for each of our layers)."""
    prefix, dot, (down_name, up_name) = style
    rows = torch.Generator().manual_seed(4)
    tensors: dict[str, Any] = {}
    wanted: dict[tuple[str, str], Any] = {}
    for name, ours in parts.items():
        sizes = [transformer.get_submodule(one).out_features for one in ours]
        inputs = transformer.get_submodule(ours[0]).in_features
        down = torch.randn(RANK, inputs, generator=rows) * 0.2
        up = torch.randn(sum(sizes), RANK, generator=rows) * 0.2
        key = prefix + name.replace(".", dot)
        tensors |= {key + down_name: down, key + up_name: up}
        for one, piece in zip(ours, (up @ down).split(sizes), strict=True):
            place = "transformer", one
            wanted[place] = wanted.get(place, 0) + piece
    return tensors, wanted


@pytest.mark.parametrize(
    ("kind", "parts", "style"),
    [
        ("flux", FLUX, KOHYA),
        ("flux", FLUX, GENERIC),
        ("flux", XLABS, OF_XLABS),
        ("flux", FLUX, FAL),
        ("sd3", SD3, KOHYA),
        ("sd3", SD3, GENERIC),
    ],
    ids=["flux-kohya", "flux-generic", "flux-xlabs", "flux-fal", "sd3-kohya", "sd3-generic"],
)
def test_a_layer_that_is_several_of_ours_draws_as_if_merged(shelf, tmp_path, kind, parts, style):
    tensors, wanted = pairs(shelf.bundle(kind).pipeline.transformer, parts, style)
    assert_as_if_merged(shelf, kind, tensors, wanted, tmp_path)


@pytest.mark.parametrize(
    ("kind", "component", "number"),
    [("sd3", "text_encoder_2", 2), ("sd3", "text_encoder_3", 3), ("flux", "text_encoder_2", 3)],
)
def test_t5_is_the_third_for_trainers_also_where_it_is_the_second(
    shelf, tmp_path, kind, component, number
):
    pipeline = shelf.bundle(kind).pipeline
    names = (".q", ".wi", "q_proj", "fc1")
    chosen = list(layers(pipeline, component, lambda name: name.endswith(names)))
    assert chosen
    tensors = {}
    for layer in chosen:
        for key, tensor in kohya(layer).items():
            name = key.removeprefix("lora_te2_").removeprefix("lora_unet_")
            tensors[f"lora_te{number}_{name}"] = tensor
    wanted = {(layer.component, layer.name): product(layer) for layer in chosen}
    assert_as_if_merged(shelf, kind, tensors, wanted, tmp_path)


def as_we_read(transformer: Any, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """The two matrices for each of our layers, by the names that diffusers gives them."""
    targets = targets_of(SimpleNamespace(transformer=transformer))
    found = {}
    for layer, parts in read_names(tensors).layers.items():
        for target in targets[layer]:
            key = f"{target.component}.{target.name}"
            found[f"{key}.lora_A.weight"] = tensors[parts["down"]]
            found[f"{key}.lora_B.weight"] = target.place.rows_of(tensors[parts["up"]])
    return found


def assert_same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_loras_of_flux_are_read_as_diffusers_converts_them(shelf):
    from diffusers.loaders import lora_conversion_utils as theirs

    transformer = shelf.bundle("flux").pipeline.transformer
    tensors, _ = pairs(transformer, XLABS, OF_XLABS)
    converted = theirs._convert_xlabs_flux_lora_to_diffusers(dict(tensors))
    assert_same(as_we_read(transformer, tensors), converted)
    # Theirs takes the published width for granted in `linear1`, and knows one layer more.
    parts = {name: ours for name, ours in FLUX.items() if not name.endswith("linear1")}
    parts["final_layer.adaLN_modulation.1"] = ["norm_out.linear"]
    tensors, _ = pairs(transformer, parts, KOHYA)
    converted = theirs._convert_kohya_flux_lora_to_diffusers(dict(tensors))
    named = {f"transformer.{k.removeprefix('transformer.')}": x for k, x in converted.items()}
    assert_same(as_we_read(transformer, tensors), named)


def sd3_names() -> Iterable[str]:
    """Every layer of Stable Diffusion 3.5 medium's layout, of two blocks."""
    for block in (0, 1):
        streams = {"x_block": ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
        # The last block makes nothing more of the text.
        streams["context_block"] = streams["x_block"] if block == 0 else ("attn.qkv",)
        for stream, names in streams.items():
            for name in (*names, "adaLN_modulation.1"):
                yield f"joint_blocks.{block}.{stream}.{name}"
    yield from (f"joint_blocks.0.x_block.attn2.{name}" for name in ("qkv", "proj"))
    yield from (f"{name}.mlp.{i}" for name in ("t_embedder", "y_embedder") for i in (0, 2))
    yield from ("context_embedder", "final_layer.linear", "final_layer.adaLN_modulation.1")
    yield "x_embedder.proj"


def test_every_layer_of_stable_diffusion_3_is_the_one_that_diffusers_makes_of_it():
    from diffusers import SD3Transformer2DModel
    from diffusers.loaders import single_file_utils

    transformer = SD3Transformer2DModel(
        **{"num_layers": 2, "attention_head_dim": 8, "num_attention_heads": 2, "sample_size": 8},
        **{"joint_attention_dim": 16, "caption_projection_dim": 16, "pos_embed_max_size": 8},
        **{"pooled_projection_dim": 16, "dual_attention_layers": (0,)},
    )
    targets = targets_of(SimpleNamespace(transformer=transformer))
    rows = torch.Generator().manual_seed(4)
    published: dict[str, Any] = {"pos_embed": torch.zeros(1)}
    ours = {}
    for name in sd3_names():
        found = targets[LayerName(DENOISER, name.replace(".", "_"))]
        for kind, inputs in (("weight", (3,)), ("bias", ())):
            whole = torch.randn((found[0].place.outputs, *inputs), generator=rows)
            published[f"{name}.{kind}"] = whole
            ours |= {f"{one.name}.{kind}": one.place.rows_of(whole) for one in found}
    converted = single_file_utils.convert_sd3_transformer_checkpoint_to_diffusers(published)
    del converted["pos_embed.pos_embed"]
    assert_same(ours, converted)
    kinds = (torch.nn.Linear, torch.nn.Conv2d)
    every = {name for name, module in transformer.named_modules() if isinstance(module, kinds)}
    assert {name.rpartition(".")[0] for name in converted} == every
