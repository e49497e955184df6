"""Diffusers folders written as one file in the layout of the first authors of each model.

The other way round from what the server does, written on its own: from the names of the modules.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.single_transformers import flux, sd3

Tensors = dict[str, Any]


def single_file(
    folder: Path,
    file: Path,
    *,
    without: tuple[str, ...] = (),
    dtype: Any = None,
    base: str | None = None,
) -> Path:
    """Write the weights of a pipeline folder as one safetensors file.

    Args:
        without: components that are left out.
        dtype: torch dtype of the floating-point tensors; None: as they are.
        base: the layout, for what its class does not tell: "sd2".
    """
    from safetensors.torch import save_file

    tensors = original_tensors(folder, without=without, base=base)
    if dtype is not None:
        tensors = {name: value.to(dtype) for name, value in tensors.items()}
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, file)
    return file


def original_tensors(
    folder: Path, *, without: tuple[str, ...] = (), base: str | None = None
) -> Tensors:
    index = json.loads((folder / "model_index.json").read_text())
    kind = base or base_of(index)
    found: Tensors = {}
    for name, prefix in PREFIXES[kind].items():
        if name in without or not (folder / name).is_dir():
            continue
        config = json.loads((folder / name / "config.json").read_text())
        weights = component_tensors(folder / name)
        for key, value in WRITERS[writer_of(kind, name)](weights, config).items():
            found[prefix + key] = value
    return found


def base_of(index: dict[str, Any]) -> str:
    class_name = index["_class_name"]
    if class_name.startswith("Flux"):
        return "flux"
    if class_name.startswith("StableDiffusion3"):
        return "sd3"
    if "XL" in class_name:
        return "sdxl" if index.get("text_encoder", [None])[0] else "sdxl-refiner"
    return "sd1"


def component_tensors(folder: Path) -> Tensors:
    from safetensors.torch import load_file

    found: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        found.update(load_file(file))
    return found


PREFIXES: dict[str, dict[str, str]] = {
    "sd1": {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "cond_stage_model.transformer.",
    },
    "sd2": {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "cond_stage_model.model.",
    },
    "sdxl": {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "conditioner.embedders.0.transformer.",
        "text_encoder_2": "conditioner.embedders.1.model.",
    },
    "sdxl-refiner": {
        "unet": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder_2": "conditioner.embedders.0.model.",
    },
    "sd3": {
        "transformer": "model.diffusion_model.",
        "vae": "first_stage_model.",
        "text_encoder": "text_encoders.clip_l.transformer.",
        "text_encoder_2": "text_encoders.clip_g.transformer.",
        "text_encoder_3": "text_encoders.t5xxl.transformer.",
    },
    "flux": {
        "transformer": "model.diffusion_model.",
        "vae": "vae.",
        "text_encoder": "text_encoders.clip_l.transformer.",
        "text_encoder_2": "text_encoders.t5xxl.transformer.",
    },
}


def writer_of(kind: str, name: str) -> str:
    if name == "transformer":
        return kind
    if name == "text_encoder" and kind == "sd2":
        return "open_clip"
    if name == "text_encoder_2" and kind.startswith("sdxl"):
        return "open_clip"
    if (kind, name) in {("sd3", "text_encoder_3"), ("flux", "text_encoder_2")}:
        return "t5"
    return "unet" if name == "unet" else "vae" if name == "vae" else "clip"


def unet(weights: Tensors, config: dict[str, Any]) -> Tensors:
    """Blocks of down, middle and up in the order in which the picture passes through them."""
    blocks = [
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
    ]
    blocks += [
        ("add_embedding.linear_1", "label_emb.0.0"),
        ("add_embedding.linear_2", "label_emb.0.2"),
    ]
    blocks += [("conv_in", "input_blocks.0.0"), ("conv_norm_out", "out.0"), ("conv_out", "out.2")]
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    place = 1
    for level in range(levels):
        for layer in range(layers):
            blocks += [(f"down_blocks.{level}.resnets.{layer}", f"input_blocks.{place}.0")]
            blocks += [(f"down_blocks.{level}.attentions.{layer}", f"input_blocks.{place}.1")]
            place += 1
        blocks += [(f"down_blocks.{level}.downsamplers.0.conv", f"input_blocks.{place}.0.op")]
        place += 1
    blocks += [
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
    ]
    blocks += [("mid_block.resnets.1", "middle_block.2")]
    place = 0
    for level in range(levels):
        attends = any(name.startswith(f"up_blocks.{level}.attentions") for name in weights)
        for layer in range(layers + 1):
            blocks += [(f"up_blocks.{level}.resnets.{layer}", f"output_blocks.{place}.0")]
            blocks += [(f"up_blocks.{level}.attentions.{layer}", f"output_blocks.{place}.1")]
            place += 1
        upsampler = f"output_blocks.{place - 1}.{2 if attends else 1}.conv"
        blocks += [(f"up_blocks.{level}.upsamplers.0.conv", upsampler)]
    inside = {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "time_emb_proj": "emb_layers.1",
        "conv_shortcut": "skip_connection",
    }
    return {_unet_name(name, blocks, inside): value for name, value in weights.items()}


def _unet_name(name: str, blocks: list[tuple[str, str]], inside: dict[str, str]) -> str:
    for ours, theirs in blocks:
        if name.startswith(f"{ours}."):
            rest = name.removeprefix(f"{ours}.")
            if "resnets" in ours:
                first, _, kind = rest.rpartition(".")
                rest = f"{inside[first]}.{kind}"
            return f"{theirs}.{rest}"
    raise AssertionError(name)


def vae(weights: Tensors, config: dict[str, Any]) -> Tensors:
    levels = len(config["block_out_channels"])
    return {_vae_name(name, levels): _vae_value(name, value) for name, value in weights.items()}


def _vae_name(name: str, levels: int) -> str:
    words = name.split(".")
    if "attentions" in words:
        inside = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
        return f"{words[0]}.mid.attn_1.{inside[words[4]]}.{words[-1]}"
    if words[1] == "mid_block":
        return f"{words[0]}.mid.block_{int(words[3]) + 1}.{'.'.join(words[4:])}"
    if words[1] in ("down_blocks", "up_blocks"):
        up = words[1] == "up_blocks"
        level = levels - 1 - int(words[2]) if up else int(words[2])
        if words[3] == "resnets":
            rest = ".".join(words[5:]).replace("conv_shortcut", "nin_shortcut")
            return f"{words[0]}.{'up' if up else 'down'}.{level}.block.{words[4]}.{rest}"
        kind = "up.{}.upsample.conv" if up else "down.{}.downsample.conv"
        return f"{words[0]}.{kind.format(level)}.{words[-1]}"
    return name.replace("conv_norm_out", "norm_out")


def _vae_value(name: str, value: Any) -> Any:
    """Attention is a convolution of one pixel there."""
    is_linear = "attentions" in name and name.endswith("weight") and value.ndim == 2
    return value[:, :, None, None] if is_linear else value


def clip(weights: Tensors, config: dict[str, Any]) -> Tensors:
    """With the names that transformers had before it took a level away."""
    outside = ("text_model.", "text_projection.")
    return {
        name if name.startswith(outside) else f"text_model.{name}": value
        for name, value in weights.items()
    }


def open_clip(weights: Tensors, config: dict[str, Any]) -> Tensors:
    """Queries, keys and values in one matrix; the projection turned round."""
    import torch

    found: Tensors = {}
    fused: dict[str, Tensors] = {}
    for full_name, value in weights.items():
        name = full_name.removeprefix("text_model.")
        if name == "text_projection.weight":
            found["text_projection"] = value.T
        elif "self_attn" in name and "out_proj" not in name:
            layer, _, rest = name.partition(".self_attn.")
            which, kind = rest.split("_proj.")
            fused.setdefault(f"{layer}.attn.in_proj_{kind}", {})[which] = value
        else:
            found[_open_clip_name(name)] = value
    for name, parts in fused.items():
        found[_open_clip_name(name)] = torch.cat([parts[which] for which in "qkv"])
    return found


def _open_clip_name(name: str) -> str:
    for ours, theirs in (
        ("encoder.layers.", "transformer.resblocks."),
        ("layer_norm1", "ln_1"),
        ("layer_norm2", "ln_2"),
        ("mlp.fc1", "mlp.c_fc"),
        ("mlp.fc2", "mlp.c_proj"),
        ("self_attn.out_proj", "attn.out_proj"),
        ("embeddings.position_embedding.weight", "positional_embedding"),
        ("embeddings.token_embedding", "token_embedding"),
        ("final_layer_norm", "ln_final"),
    ):
        name = name.replace(ours, theirs)
    return name


def t5(weights: Tensors, config: dict[str, Any]) -> Tensors:
    return dict(weights)


WRITERS: dict[str, Any] = {
    "unet": unet,
    "vae": vae,
    "clip": clip,
    "open_clip": open_clip,
    "t5": t5,
    "sd3": sd3,
    "flux": flux,
}
