"""The tensor names of LoRA files: which layer each belongs to, and what it is of it.

Trainers write a layer's name with dots or with underscores; underscores serve for both.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from onebox.core.errors import ModelBroken
from onebox.core.on_disk import TensorInfo
from onebox.core.weight_sizes import FLOATS

DENOISER = "denoiser"
# What a tensor's name ends with → its part in the layer. W' = W + scale · up·down for LoRA;
# LoHa ("hada") and LoKr ("lokr") compose the difference otherwise; "diff" is the difference.
_ENDINGS: Mapping[str, str] = {
    **{f".{name}.weight": "down" for name in ("lora_down", "lora_A", "lora_A.default")},
    **{f".{name}.weight": "up" for name in ("lora_up", "lora_B", "lora_B.default")},
    **{f".{name}.down.weight": "down" for name in ("lora", "lora_linear_layer")},
    **{f".{name}.up.weight": "up" for name in ("lora", "lora_linear_layer")},
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".lora_mid.weight": "mid",
    **{
        f".{name}": name
        for name in (
            *("alpha", "diff", "diff_b"),
            *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
            *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
        )
    },
}
# What trainers write besides and nothing here can apply.
_FOREIGN: Mapping[str, str] = {
    ".dora_scale": "DoRA magnitudes",
    ".lora_magnitude_vector": "DoRA magnitudes",
    ".lora_magnitude_vector.weight": "DoRA magnitudes",
    ".oft_blocks": "OFT rotations",
    ".oft_diag": "OFT rotations",
    ".boft_blocks": "BOFT rotations",
    ".on_input": "an IA3 network",
    ".a1.weight": "GLoRA layers",
    ".w_norm": "trained norms",
    ".b_norm": "trained norms",
    ".lora_B.bias": "LoRA biases",
    ".lora_embedding_A": "LoRA of embeddings",
    ".lora_embedding_B": "LoRA of embeddings",
}
_COMPONENTS: Mapping[str, str] = {
    "lora_unet_": DENOISER,
    "lora_transformer_": DENOISER,
    "unet.": DENOISER,
    "transformer.": DENOISER,
    "diffusion_model.": DENOISER,
    "lora_te_": "text_encoder",
    "lora_te1_": "text_encoder",
    "lora_te2_": "text_encoder_2",
    "lora_te3_": "text_encoder_3",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "text_encoder_3.": "text_encoder_3",
}
# What layers of picture models are called, in files that name no component.
_BARE = (
    *("down_blocks.", "mid_block.", "up_blocks.", "transformer_blocks."),
    *("single_transformer_blocks.", "double_blocks.", "single_blocks.", "joint_blocks."),
)
_PEFT = "base_model.model."
# Layers that the first file format of diffusers named after their processors.
_OLD_NAMES = (
    (re.compile(r"_processor_"), "_"),
    (re.compile(r"(attn[12])_to_out$"), r"\1_to_out_0"),
    (re.compile(r"self_attn_to_(q|k|v)$"), r"self_attn_\1_proj"),
    (re.compile(r"self_attn_to_out$"), "self_attn_out_proj"),
)


@dataclass(frozen=True, slots=True)
class LayerName:
    """One layer of a component; `layer` is its name with underscores for dots."""

    component: str
    layer: str


@dataclass(frozen=True, slots=True)
class LoraNames:
    """The tensors of a file by layer: part → the tensor's name."""

    layers: Mapping[LayerName, Mapping[str, str]]
    unknown: tuple[str, ...] = field(default=())


def read_names(names: Iterable[str]) -> LoraNames:
    """Sort the tensor names of a file; those of no LoRA for pictures are left in `unknown`."""
    layers: dict[LayerName, dict[str, str]] = defaultdict(dict)
    unknown = []
    for name in names:
        module, part = _cut(name)
        layer = _layer_name(module) if part else None
        if layer is None:
            unknown.append(name)
        else:
            layers[layer][part] = name
    return LoraNames(layers, tuple(unknown))


def refuse_unusable(names: LoraNames, tensors: Mapping[str, TensorInfo]) -> None:
    """Raises ModelBroken for a LoRA of a kind that cannot be applied, which it names."""
    for name in names.unknown:
        kind = next((what for ending, what in _FOREIGN.items() if name.endswith(ending)), None)
        if kind is None and name.startswith(_PEFT):
            raise ModelBroken(
                "it is in PEFT's own layout, whose strength lies in another file; save it with "
                "save_lora_weights of its pipeline"
            )
        held = kind or f"{name[:100]!r}, which belongs to no known layer"
        raise ModelBroken(f"it holds {held}; LoRA, LoCon, LoHa and LoKr can be used")
    for layer, parts in names.layers.items():
        if not _is_whole(parts):
            raise ModelBroken(
                f"layer {layer.layer[:100]} has only {', '.join(sorted(parts))}; copy it again"
            )
        for part, name in parts.items():
            tensor = tensors[name]
            if part == "alpha" and math.prod(tensor.shape) != 1:
                raise ModelBroken(f"{name[:100]} is {list(tensor.shape)[:4]}, not one number")
            if part != "alpha" and tensor.dtype not in FLOATS:
                raise ModelBroken(f"{name[:100]} is of {tensor.dtype}; save it in F16 or BF16")


def is_lora(names: LoraNames, count: int) -> bool:
    """Whether a file of `count` tensors is a LoRA for pictures, usable or not."""
    if any(_is_whole(parts) for parts in names.layers.values()):
        return len(names.unknown) < count / 2 or any(map(_is_foreign, names.unknown))
    return bool(names.unknown) and all(map(_is_peft_picture, names.unknown))


def _cut(name: str) -> tuple[str, str]:
    """The layer's name in the file, and the part; no part for what is no LoRA's tensor."""
    # Endings have at most three pieces; a look-up for each keeps this fast for long files.
    start = len(name)
    for _ in range(3):
        start = max(name.rfind(".", 0, start), 0)
        for ending in (name[start:], name[max(name.rfind("_", 0, start), 0) :]):
            if ending in _ENDINGS:
                return name.removesuffix(ending), _ENDINGS[ending]
    return name, ""


def _layer_name(module: str) -> LayerName | None:
    for prefix, component in _COMPONENTS.items():
        if module.startswith(prefix):
            return LayerName(component, _underscored(module.removeprefix(prefix)))
    if module.startswith(_BARE):
        return LayerName(DENOISER, _underscored(module))
    return None


def _underscored(module: str) -> str:
    name = module.replace(".", "_").removeprefix("text_model_")
    for old, new in _OLD_NAMES:
        name = old.sub(new, name)
    return name


def _is_whole(parts: Mapping[str, str]) -> bool:
    """Whether a layer has all that its kind needs."""
    if "down" in parts or "up" in parts:
        return {"down", "up"} <= parts.keys()
    if any(part.startswith("hada") for part in parts):
        return {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= parts.keys()
    if any(part.startswith("lokr") for part in parts):
        return all(
            f"lokr_{w}" in parts or {f"lokr_{w}_a", f"lokr_{w}_b"} <= parts.keys()
            for w in ("w1", "w2")
        )
    return "diff" in parts or "diff_b" in parts


def _is_foreign(name: str) -> bool:
    return name.endswith(tuple(_FOREIGN))


def _is_peft_picture(name: str) -> bool:
    return name.startswith(tuple(_PEFT + bare for bare in _BARE))
