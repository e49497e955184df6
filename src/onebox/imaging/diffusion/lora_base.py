"""For which kind of checkpoint a LoRA was made, by the names and widths of its layers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from onebox.core.on_disk import TensorInfo
from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName, LoraNames

Tensors = Mapping[str, TensorInfo]
# How wide a text the cross-attention of a UNet reads.
CONTEXT_WIDTHS = {768: "sd1", 1024: "sd2", 1280: "sdxl-refiner", 2048: "sdxl"}
SD3_WIDTHS = (1536, 2432)
FLUX_WIDTH = 3072
FLUX_BLOCKS = 19
_CONTEXT = re.compile(r"attn2_to_[kv]$")
_ATTENTION = re.compile(r"(attn_to_[qkv]|attn_qkv|attn_add_[qkv]_proj|_linear1(_qkv)?)$")
_UNET = ("down_blocks_", "mid_block_", "up_blocks_", "input_blocks_", "middle_block_")
_SINGLE = ("single_transformer_blocks_", "single_blocks_", "double_blocks_")
_BLOCK = re.compile(r"^transformer_blocks_(\d+)_")


def base_of(names: LoraNames, tensors: Tensors) -> str | None:
    """`base` of the checkpoints it goes with; None when the file does not tell."""
    denoiser = {name.layer: name for name in names.layers if name.component == DENOISER}
    if any(layer.startswith((*_UNET, "output_blocks_")) for layer in denoiser):
        return _unet_base(denoiser, names, tensors)
    return _transformer_base(denoiser, names, tensors)


def _unet_base(denoiser: Mapping[str, LayerName], names: LoraNames, tensors: Tensors) -> str | None:
    widths = set(_widths(_CONTEXT, denoiser, names, tensors))
    if len(widths) == 1:
        return CONTEXT_WIDTHS.get(widths.pop())
    return "sdxl" if any(name.component == "text_encoder_2" for name in names.layers) else None


def _transformer_base(
    denoiser: Mapping[str, LayerName], names: LoraNames, tensors: Tensors
) -> str | None:
    widths = set(_widths(_ATTENTION, denoiser, names, tensors))
    if len(widths) != 1:
        return None
    (width,) = widths
    blocks = [int(found[1]) for layer in denoiser if (found := _BLOCK.match(layer))]
    if any(layer.startswith("joint_blocks_") for layer in denoiser):
        return "sd3"
    if width in SD3_WIDTHS and blocks:
        return "sd3"
    is_flux = any(layer.startswith(_SINGLE) for layer in denoiser)
    # Qwen-Image has blocks of the same names and width, and more of them.
    if is_flux or (blocks and max(blocks) < FLUX_BLOCKS):
        return "flux" if width == FLUX_WIDTH else None
    return None


def _widths(
    pattern: re.Pattern[str], denoiser: Mapping[str, LayerName], names: LoraNames, tensors: Tensors
) -> Iterator[int]:
    """How many values the layers of such names take in."""
    for layer, name in denoiser.items():
        if pattern.search(layer):
            width = inputs_of(names.layers[name], tensors)
            if width is not None:
                yield width


def inputs_of(parts: Mapping[str, str], tensors: Tensors) -> int | None:
    """How many values a layer takes in. None where its tensors do not tell."""
    shapes = {part: tensors[name].shape for part, name in parts.items()}
    for part in ("down", "hada_w1_b", "diff"):
        if len(shapes.get(part, ())) > 1:
            return shapes[part][1]
    first = shapes.get("lokr_w1") or shapes.get("lokr_w1_b")
    second = shapes.get("lokr_w2") or shapes.get("lokr_w2_b")
    if first and second and len(first) > 1 and len(second) > 1:
        return first[1] * second[1]
    return None
