"""Which modules of a loaded pipeline a layer of a LoRA means, whatever its trainer called it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName
from onebox.imaging.diffusion.lora_places import Place
from onebox.imaging.diffusion.lora_published_names import Alias, published_names

SECOND, THIRD = "text_encoder_2", "text_encoder_3"
TEXT_ENCODERS = ("text_encoder", SECOND, THIRD)
# Layers that take the latents in, and after them what an inpainting model sees besides.
INPUT_LAYERS = frozenset({"conv_in", "x_embedder"})
_RESNET = (
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_UNET_OUTER = (
    ("conv_in", "input_blocks.0.0"),
    ("conv_out", "out.2"),
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A module `name` of the pipeline's `component`, and where in the layer it stands."""

    component: str
    name: str
    place: Place


Targets = Mapping[LayerName, tuple[Target, ...]]


def targets_of(pipeline: Any) -> Targets:
    """Everything in the pipeline that a LoRA may name."""
    found: dict[LayerName, tuple[Target, ...]] = {}
    for attribute in ("unet", "transformer", *TEXT_ENCODERS):
        module = getattr(pipeline, attribute, None)
        if module is None:
            continue
        component = attribute if attribute in TEXT_ENCODERS else DENOISER
        outputs = ((name, _outputs(part)) for name, part in module.named_modules())
        sizes = {name: size for name, size in outputs if size is not None}
        for alias in _aliases(attribute, sizes):
            layer = alias.name.replace(".", "_").removeprefix("text_model_")
            found[LayerName(component, layer)] = tuple(_sliced(attribute, alias, sizes))
    if not hasattr(pipeline, THIRD):
        # FLUX has T5 for its second; some trainers number it as in SD3, where it is the third.
        found |= {
            LayerName(THIRD, name.layer): targets
            for name, targets in found.items()
            if name.component == SECOND
        }
    return found


def _outputs(module: Any) -> int | None:
    """How many values a linear or a 2-D convolution layer gives; None for other modules."""
    return getattr(module, "out_features", None) or (
        getattr(module, "out_channels", None) if hasattr(module, "kernel_size") else None
    )


def _sliced(component: str, alias: Alias, sizes: Mapping[str, int]) -> Iterator[Target]:
    start, outputs = 0, sum(sizes[name] for name in alias.modules)
    for name in alias.modules:
        rows = slice(start, start + sizes[name])
        widen = name in INPUT_LAYERS
        yield Target(component, name, Place(rows, outputs, widen, alias.swapped))
        start += sizes[name]


def _aliases(component: str, sizes: Mapping[str, int]) -> Iterator[Alias]:
    """Every name that trainers use."""
    for name in sizes:
        yield Alias((name,), name)
    if component == "unet":
        for old, new in _unet_prefixes(sizes):
            yield from _renamed(sizes, old, new)
        for name, alias in _UNET_OUTER:
            if name in sizes:
                yield Alias((name,), alias)
    if component == "transformer":
        yield from published_names(sizes)


def _renamed(sizes: Mapping[str, int], prefix: str, alias: str) -> Iterator[Alias]:
    """The modules below a block by its original name."""
    inner = dict(_RESNET) if ".resnets." in prefix else {}
    for name in sizes:
        if name.startswith(f"{prefix}."):
            rest = name.removeprefix(f"{prefix}.")
            yield Alias((name,), f"{alias}.{inner.get(rest, rest)}")
        elif name == prefix:
            yield Alias((name,), alias)


def _unet_prefixes(sizes: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """(block in diffusers, block in the original layout) of a UNet of any depth."""
    for inner, outer in (("resnets.0", "0"), ("attentions.0", "1"), ("resnets.1", "2")):
        yield f"mid_block.{inner}", f"middle_block.{outer}"
    number = 0
    for block, layers in _blocks(sizes, "down_blocks"):
        for layer in range(layers):
            number += 1
            yield f"{block}.resnets.{layer}", f"input_blocks.{number}.0"
            yield f"{block}.attentions.{layer}", f"input_blocks.{number}.1"
        if f"{block}.downsamplers.0.conv" in sizes:
            number += 1
            yield f"{block}.downsamplers.0.conv", f"input_blocks.{number}.0.op"
    number = -1
    for block, layers in _blocks(sizes, "up_blocks"):
        attends = any(name.startswith(f"{block}.attentions.") for name in sizes)
        for layer in range(layers):
            number += 1
            yield f"{block}.resnets.{layer}", f"output_blocks.{number}.0"
            yield f"{block}.attentions.{layer}", f"output_blocks.{number}.1"
        yield f"{block}.upsamplers.0.conv", f"output_blocks.{number}.{1 + attends}.conv"


def _blocks(sizes: Mapping[str, int], kind: str) -> Iterator[tuple[str, int]]:
    """(name, number of residual layers) of each block of a kind, in order."""
    layers: dict[int, int] = defaultdict(int)
    for name in sizes:
        parts = name.split(".")
        if parts[0] == kind and parts[2] == "resnets" and parts[-1] == "conv1":
            layers[int(parts[1])] += 1
    for block in sorted(layers):
        yield f"{kind}.{block}", layers[block]
