"""Which modules of a loaded pipeline a layer of a LoRA means, whatever its trainer called it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName
from onebox.imaging.diffusion.lora_layers import Place

TEXT_ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")
# Layers that take the latents in, and after them what an inpainting model sees besides.
INPUT_LAYERS = frozenset({"conv_in", "x_embedder"})
# (modules, their name in the layout the model was published in), of which one may be several.
_Names: TypeAlias = tuple[tuple[tuple[str, ...], str], ...]
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
_FLUX_DOUBLE: _Names = (
    (("attn.to_q", "attn.to_k", "attn.to_v"), "img_attn.qkv"),
    (("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"), "txt_attn.qkv"),
    (("attn.to_out.0",), "img_attn.proj"),
    (("attn.to_add_out",), "txt_attn.proj"),
    (("ff.net.0.proj",), "img_mlp.0"),
    (("ff.net.2",), "img_mlp.2"),
    (("ff_context.net.0.proj",), "txt_mlp.0"),
    (("ff_context.net.2",), "txt_mlp.2"),
    (("norm1.linear",), "img_mod.lin"),
    (("norm1_context.linear",), "txt_mod.lin"),
)
_FLUX_SINGLE: _Names = (
    (("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"), "linear1"),
    (("proj_out",), "linear2"),
    (("norm.linear",), "modulation.lin"),
)
_FLUX_OUTER: _Names = (
    (("x_embedder",), "img_in"),
    (("context_embedder",), "txt_in"),
    (("proj_out",), "final_layer.linear"),
    (("time_text_embed.timestep_embedder.linear_1",), "time_in.in_layer"),
    (("time_text_embed.timestep_embedder.linear_2",), "time_in.out_layer"),
    (("time_text_embed.text_embedder.linear_1",), "vector_in.in_layer"),
    (("time_text_embed.text_embedder.linear_2",), "vector_in.out_layer"),
    (("time_text_embed.guidance_embedder.linear_1",), "guidance_in.in_layer"),
    (("time_text_embed.guidance_embedder.linear_2",), "guidance_in.out_layer"),
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
        for names, alias in _aliases(attribute, sizes):
            layer = alias.replace(".", "_").removeprefix("text_model_")
            found[LayerName(component, layer)] = tuple(_sliced(attribute, names, sizes))
    return found


def _outputs(module: Any) -> int | None:
    """How many values a linear or a 2-D convolution layer gives; None for other modules."""
    return getattr(module, "out_features", None) or (
        getattr(module, "out_channels", None) if hasattr(module, "kernel_size") else None
    )


def _sliced(component: str, names: tuple[str, ...], sizes: Mapping[str, int]) -> Iterator[Target]:
    start, outputs = 0, sum(sizes[name] for name in names)
    for name in names:
        rows = slice(start, start + sizes[name])
        yield Target(component, name, Place(rows, outputs, widen=name in INPUT_LAYERS))
        start += sizes[name]


def _aliases(component: str, sizes: Mapping[str, int]) -> Iterator[tuple[tuple[str, ...], str]]:
    """(modules, what they are called) with every name that trainers use."""
    for name in sizes:
        yield (name,), name
    if component == "unet":
        for old, new in _unet_prefixes(sizes):
            yield from _renamed(sizes, old, new)
        for name, alias in _UNET_OUTER:
            if name in sizes:
                yield (name,), alias
    if component == "transformer":
        yield from _flux_names(sizes)


def _renamed(
    sizes: Mapping[str, int], prefix: str, alias: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """The modules below a block by its original name."""
    inner = dict(_RESNET) if ".resnets." in prefix else {}
    for name in sizes:
        if name.startswith(f"{prefix}."):
            rest = name.removeprefix(f"{prefix}.")
            yield (name,), f"{alias}.{inner.get(rest, rest)}"
        elif name == prefix:
            yield (name,), alias


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


def _flux_names(sizes: Mapping[str, int]) -> Iterator[tuple[tuple[str, ...], str]]:
    tables: list[tuple[str, str, _Names]] = [("", "", _FLUX_OUTER)]
    for blocks, original, table in (
        ("transformer_blocks", "double_blocks", _FLUX_DOUBLE),
        ("single_transformer_blocks", "single_blocks", _FLUX_SINGLE),
    ):
        numbers = {name.split(".")[1] for name in sizes if name.startswith(f"{blocks}.")}
        tables += [(f"{blocks}.{n}.", f"{original}.{n}.", table) for n in sorted(numbers)]
    for prefix, original, table in tables:
        for names, alias in table:
            modules = tuple(prefix + name for name in names)
            if all(module in sizes for module in modules):
                yield modules, original + alias
