"""Weights of a FLUX transformer, from the names of an original file to those of diffusers.

The converter of diffusers takes one width for granted; this one goes by the shapes it finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OUTSIDE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
# Shift before scale there, scale before shift here.
_SWAPPED = {"final_layer.adaLN_modulation.1": "norm_out.linear"}
_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "txt_mod.lin": "norm1_context.linear",
    "img_attn.proj": "attn.to_out.0",
    "txt_attn.proj": "attn.to_add_out",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
}
_DOUBLE_FUSED = {
    "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
}
_DOUBLE_SCALES = {
    "img_attn.norm.query_norm.scale": "attn.norm_q.weight",
    "img_attn.norm.key_norm.scale": "attn.norm_k.weight",
    "txt_attn.norm.query_norm.scale": "attn.norm_added_q.weight",
    "txt_attn.norm.key_norm.scale": "attn.norm_added_k.weight",
}
_SINGLE = {"modulation.lin": "norm.linear", "linear2": "proj_out"}
_SINGLE_SCALES = {
    "norm.query_norm.scale": "attn.norm_q.weight",
    "norm.key_norm.scale": "attn.norm_k.weight",
}
_SINGLE_FUSED = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")


def flux_weights(found: Mapping[str, Any]) -> dict[str, Any]:
    """Name → tensor of the transformer, from those of the file without their prefix.

    A name that no table knows stays as it is, and is missed or refused by who loads.
    """
    weights: dict[str, Any] = {}
    for name, value in found.items():
        block, _, rest = name.partition(".")
        number, _, inner = rest.partition(".")
        if block == "double_blocks":
            weights.update(_double(f"transformer_blocks.{number}", inner, value))
        elif block == "single_blocks":
            weights.update(_single(f"single_transformer_blocks.{number}", inner, value))
        else:
            weights.update(_outside(name, value))
    return weights


def _outside(name: str, value: Any) -> dict[str, Any]:
    stem, _, kind = name.rpartition(".")
    if stem in _SWAPPED:
        shift, scale = value.chunk(2, dim=0)
        return {f"{_SWAPPED[stem]}.{kind}": _joined(scale, shift)}
    return {f"{_OUTSIDE.get(stem, stem)}.{kind}": value}


def _double(block: str, name: str, value: Any) -> dict[str, Any]:
    stem, _, kind = name.rpartition(".")
    if stem in _DOUBLE_FUSED:
        return _split(block, _DOUBLE_FUSED[stem], kind, value.chunk(3, dim=0))
    if name in _DOUBLE_SCALES:
        return {f"{block}.{_DOUBLE_SCALES[name]}": value}
    return {f"{block}.{_DOUBLE.get(stem, stem)}.{kind}": value}


def _single(block: str, name: str, value: Any) -> dict[str, Any]:
    stem, _, kind = name.rpartition(".")
    if stem == "linear1":
        # Three of the model's width, then the hidden layer of four times that.
        width = value.shape[0] // 7
        return _split(block, _SINGLE_FUSED, kind, value.split((width, width, width, 4 * width)))
    if name in _SINGLE_SCALES:
        return {f"{block}.{_SINGLE_SCALES[name]}": value}
    return {f"{block}.{_SINGLE.get(stem, stem)}.{kind}": value}


def _split(block: str, names: tuple[str, ...], kind: str, parts: Any) -> dict[str, Any]:
    """Copies, so that none of them keeps the whole alive."""
    pairs = zip(names, parts, strict=True)
    return {f"{block}.{name}.{kind}": part.clone() for name, part in pairs}


def _joined(one: Any, other: Any) -> Any:
    import torch

    return torch.cat([one, other], dim=0)
