"""Weights of text encoders, from the names of an original file to those of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Weights = Mapping[str, Any]

# Where OpenCLIP and transformers differ.
_OPEN_CLIP = {
    "positional_embedding": "embeddings.position_embedding.weight",
    "token_embedding.weight": "embeddings.token_embedding.weight",
    "ln_final.weight": "final_layer_norm.weight",
    "ln_final.bias": "final_layer_norm.bias",
}
_OPEN_CLIP_LAYER = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_LAYERS = "transformer.resblocks."
# Tables that are no weights, which old files carry.
_BUFFERS = ("position_ids",)


def clip_weights(found: Weights, config: Mapping[str, Any], *, projected: bool) -> dict[str, Any]:
    """Of a CLIP text encoder, in the naming of transformers or of OpenCLIP.

    Args:
        found: name → tensor, without the prefix of the file.
        config: of the encoder; layers past its `num_hidden_layers` are left out.
        projected: whether the encoder ends in a projection. A file without one means none, which
            is a projection that changes nothing.
    """
    open_clip = any(name.startswith(_LAYERS) for name in found)
    weights = _from_open_clip(found) if open_clip else _from_transformers(found)
    projection = weights.pop("text_projection.weight", None)
    layers = int(config["num_hidden_layers"])
    kept = {name: value for name, value in weights.items() if _layer(name) < layers}
    if projected:
        kept["text_projection.weight"] = (
            _identity(kept, config) if projection is None else projection
        )
    return kept


def t5_weights(found: Weights) -> dict[str, Any]:
    """Of a T5 encoder: the names are those of transformers; a decoder's are left out."""
    weights = {name: value for name, value in found.items() if name.startswith("encoder.")}
    shared = found.get("shared.weight", weights.get("encoder.embed_tokens.weight"))
    return weights if shared is None else {**weights, "shared.weight": shared}


def _from_transformers(found: Weights) -> dict[str, Any]:
    """With `text_model.` before the names or, in old files, without."""
    return {
        name.removeprefix("text_model."): value
        for name, value in found.items()
        if not name.endswith(_BUFFERS) and name != "logit_scale"
    }


def _from_open_clip(found: Weights) -> dict[str, Any]:
    weights = {new: found[old] for old, new in _OPEN_CLIP.items() if old in found}
    if "text_projection" in found:
        # OpenCLIP multiplies from the other side.
        weights["text_projection.weight"] = found["text_projection"].T.contiguous()
    for name, value in found.items():
        if name.startswith(_LAYERS):
            number, _, rest = name.removeprefix(_LAYERS).partition(".")
            weights.update(_layer_weights(f"encoder.layers.{number}", rest, value))
    return weights


def _layer_weights(layer: str, name: str, value: Any) -> dict[str, Any]:
    if name.startswith("attn.in_proj_"):
        kind = name.removeprefix("attn.in_proj_")
        thirds = zip("qkv", value.chunk(3, dim=0), strict=True)
        return {f"{layer}.self_attn.{which}_proj.{kind}": part for which, part in thirds}
    for old, new in _OPEN_CLIP_LAYER.items():
        if name.startswith(f"{old}."):
            return {f"{layer}.{new}{name.removeprefix(old)}": value}
    return {f"{layer}.{name}": value}


def _layer(name: str) -> int:
    """Number of the layer that a weight belongs to; -1 for what is outside of them."""
    _, marker, rest = name.partition("encoder.layers.")
    return int(rest.split(".")[0]) if marker else -1


def _identity(weights: Weights, config: Mapping[str, Any]) -> Any:
    import torch

    width = int(config["hidden_size"])
    dtype = weights["final_layer_norm.weight"].dtype
    return torch.eye(int(config.get("projection_dim", width)), width, dtype=dtype)
