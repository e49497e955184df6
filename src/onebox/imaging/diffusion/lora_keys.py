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
    # DoRA: lengths of the rows of W' in PEFT; of its rows or columns in LyCORIS.
    **{f".lora_magnitude_vector{end}": "magnitude" for end in ("", ".weight", ".default.weight")},
    **{
        f".{name}": name
        for name in (
            *("alpha", "diff", "diff_b", "dora_scale"),
            *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
            *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
        )
    },
}
# What trainers write besides and nothing here can apply.
_FOREIGN: Mapping[str, str] = {
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
    "lycoris_": DENOISER,
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
    "text_encoders.clip_l.transformer.": "text_encoder",
    "text_encoders.clip_g.transformer.": "text_encoder_2",
    "text_encoders.t5xxl.transformer.": "text_encoder_3",
}
# What layers of picture models are called, in files that name no component.
_BARE = (
    *("down_blocks.", "mid_block.", "up_blocks.", "transformer_blocks."),
    *("single_transformer_blocks.", "double_blocks.", "single_blocks.", "joint_blocks."),
)
_PEFT = "base_model.model."
# Below that prefix: blocks and layers of FLUX in its first layout, as fal trains it. There is no
# other file then, and alpha is the rank, as diffusers takes it.
_PUBLISHED = frozenset(
    {
        *("double_blocks", "single_blocks", "final_layer"),
        *("img_in", "txt_in", "time_in", "vector_in", "guidance_in"),
    }
)
# Layers outside of all blocks, which files without that prefix do not name so.
_OUTER = frozenset(
    {
        *("conv_in", "conv_out", "time_embedding", "add_embedding"),
        *("x_embedder", "context_embedder", "pos_embed", "time_text_embed", "norm_out", "proj_out"),
        *("t_embedder", "y_embedder"),
    }
)
_CLIP = "text_model.encoder."
# What an alpha may be of, too.
_WHOLE = frozenset({"U8", "I8", "I16", "I32", "I64"})
# XLabs names what it trains of FLUX after the attention's processors: those of blocks with two
# streams are numbered, the picture's being the first.
_PROCESSOR = ".processor."
_PROCESSORS = re.compile(r"\.processor\.(qkv|proj)_lora([12]?)\.")
_STREAMS = {"1": "img_attn", "2": "txt_attn"}
_SINGLE_STREAM = {"qkv": "linear1_qkv", "proj": "linear2"}
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
    """The tensors of a file by layer: part → the tensor's name.

    `needs_config`: they are named as PEFT does, which tells their strength in another file.
    """

    layers: Mapping[LayerName, Mapping[str, str]]
    unknown: tuple[str, ...] = field(default=())
    needs_config: bool = False


def read_names(names: Iterable[str]) -> LoraNames:
    """Sort the tensor names of a file; those of no LoRA for pictures are left in `unknown`."""
    layers: dict[LayerName, dict[str, str]] = defaultdict(dict)
    unknown = []
    needs_config = False
    for name in names:
        needs_config |= name.startswith(_PEFT) and _first(name) not in _PUBLISHED
        module, part = _cut(_PROCESSORS.sub(_of_processor, name) if _PROCESSOR in name else name)
        layer = _layer_name(module) if part else None
        if layer is None:
            unknown.append(name)
        else:
            layers[layer][part] = name
    return LoraNames(layers, tuple(unknown), needs_config)


def refuse_unusable(names: LoraNames, tensors: Mapping[str, TensorInfo]) -> None:
    """Raises ModelBroken for a LoRA of a kind that cannot be applied, which it names."""
    for name in names.unknown:
        kind = next((what for ending, what in _FOREIGN.items() if name.endswith(ending)), None)
        held = kind or f"{name[:100]!r}, which belongs to no known layer"
        raise ModelBroken(f"it holds {held}; LoRA, LoCon, LoHa, LoKr and DoRA can be used")
    for layer, parts in names.layers.items():
        if not _is_whole(parts):
            raise ModelBroken(
                f"layer {layer.layer[:100]} has only {', '.join(sorted(parts))}; copy it again"
            )
        for part, name in parts.items():
            tensor = tensors[name]
            if part == "alpha" and math.prod(tensor.shape) != 1:
                raise ModelBroken(f"{name[:100]} is {list(tensor.shape)[:4]}, not one number")
            if tensor.dtype not in (FLOATS | _WHOLE if part == "alpha" else FLOATS):
                raise ModelBroken(f"{name[:100]} is of {tensor.dtype}; save it in F16 or BF16")


def is_lora(names: LoraNames, count: int) -> bool:
    """Whether a file of `count` tensors is a LoRA for pictures, usable or not."""
    is_one = any(_is_whole(parts) for parts in names.layers.values())
    return is_one and (len(names.unknown) < count / 2 or any(map(_is_foreign, names.unknown)))


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
    if module.startswith(_PEFT):
        # An adapter of a language model has other names below it.
        own = module.removeprefix(_PEFT)
        if own.startswith(_CLIP):
            return LayerName("text_encoder", _underscored(own))
        is_known = own.startswith(_BARE) or _first(module) in _PUBLISHED | _OUTER
        return LayerName(DENOISER, _underscored(own)) if is_known else None
    for prefix, component in _COMPONENTS.items():
        if module.startswith(prefix):
            return LayerName(component, _underscored(module.removeprefix(prefix)))
    if module.startswith(_BARE):
        return LayerName(DENOISER, _underscored(module))
    return None


def _of_processor(found: re.Match[str]) -> str:
    """ ".processor.qkv_lora1." → ".img_attn.qkv.lora."."""
    kind, stream = found.groups()
    layer = f"{_STREAMS[stream]}.{kind}" if stream else _SINGLE_STREAM[kind]
    return f".{layer}.lora."


def _first(name: str) -> str:
    """The first piece of a name below PEFT's prefix."""
    return name.removeprefix(_PEFT).partition(".")[0]


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
