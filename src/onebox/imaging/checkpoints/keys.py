"""What a single weight file holds, by the names and shapes of its tensors alone.

Nothing is guessed: a file is one of the layouts below with all of its landmarks, or it is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from onebox.core.errors import ModelBroken

Shapes = Mapping[str, tuple[int, ...]]

# Files that hold more than the denoiser keep it under the first; the denoiser alone needs none.
DENOISER_PREFIXES = ("model.diffusion_model.", "")
VAE_PREFIXES = ("first_stage_model.", "vae.")
# What must be there for the file to be of that kind, under the denoiser's prefix.
UNET_LANDMARKS = (
    "input_blocks.0.0.weight",
    "input_blocks.1.0.in_layers.2.weight",
    "middle_block.0.in_layers.0.weight",
    "output_blocks.0.0.in_layers.0.weight",
    "time_embed.0.weight",
    "out.2.weight",
)
SD3_LANDMARKS = (
    "joint_blocks.0.context_block.adaLN_modulation.1.weight",
    "joint_blocks.0.x_block.attn.qkv.weight",
    "final_layer.linear.weight",
    "context_embedder.weight",
    "x_embedder.proj.weight",
    "pos_embed",
)
FLUX_LANDMARKS = (
    "double_blocks.0.img_attn.norm.key_norm.scale",
    "double_blocks.0.img_attn.qkv.weight",
    "single_blocks.0.linear1.weight",
    "final_layer.linear.weight",
    "vector_in.in_layer.weight",
    "img_in.weight",
    "txt_in.weight",
)
# Kin of FLUX that other pipelines draw with.
NOT_FLUX = ("distilled_guidance_layer.", "single_stream_modulation.", "nerf_")
# Component → where its tensors may lie, of the bases whose text encoders a file may carry.
TEXT_ENCODERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "sd1": {"text_encoder": ("cond_stage_model.transformer.",)},
    "sd2": {"text_encoder": ("cond_stage_model.model.",)},
    "sdxl": {
        "text_encoder": ("conditioner.embedders.0.transformer.",),
        "text_encoder_2": ("conditioner.embedders.1.model.",),
    },
    "sdxl-refiner": {"text_encoder_2": ("conditioner.embedders.0.model.",)},
    "sd3": {
        "text_encoder": ("text_encoders.clip_l.transformer.",),
        "text_encoder_2": ("text_encoders.clip_g.transformer.",),
        "text_encoder_3": ("text_encoders.t5xxl.transformer.",),
    },
    "flux": {
        "text_encoder": ("text_encoders.clip_l.transformer.",),
        "text_encoder_2": ("text_encoders.t5xxl.transformer.",),
    },
}
# Without these a pipeline works all the same.
OPTIONAL = frozenset({("sd3", "text_encoder_3")})
# Width of the text that the cross-attention of a UNet reads → its base.
CONTEXT_WIDTHS = {768: "sd1", 1024: "sd2", 1280: "sdxl-refiner", 2048: "sdxl"}
CHANNELS = {4: "", 9: "inpainting"}
# Says that the noise is another than that of every tree here, as in Playground 2.5.
OTHER_NOISE = ("edm_mean", "edm_vpred.sigma_max")
QUANTISED = (".absmax", ".quant_map", ".scale_weight", ".weight_scale", ".qweight", "scaled_fp8")


# What tells a file of one component alone: a decoder of pictures, a CLIP, a T5 encoder.
PARTS: Mapping[str, tuple[str, ...]] = {
    "vae": (
        "encoder.conv_in.weight",
        "decoder.conv_in.weight",
        "decoder.mid.block_1.conv1.weight",
        "decoder.up.0.block.0.conv1.weight",
    ),
    "clip": (
        "text_model.embeddings.token_embedding.weight",
        "text_model.encoder.layers.0.self_attn.q_proj.weight",
        "text_model.final_layer_norm.weight",
    ),
    "t5": (
        "shared.weight",
        "encoder.block.0.layer.0.SelfAttention.q.weight",
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.final_layer_norm.weight",
    ),
}


@dataclass(frozen=True, slots=True)
class PartFile:
    """A file of one component: "vae", "clip" or "t5", and what its names begin with."""

    name: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Layout:
    """What lies where in a file.

    Attributes:
        base: "sd1", "sd2", "sdxl", "sdxl-refiner", "sd3" or "flux".
        variant: "" or what else it was made for: "inpainting", "fill".
        denoiser: "unet" or "transformer".
        parts: component → what the names of its tensors begin with, for those that are there.
        missing: components that must come from elsewhere.
        in_channels: of the latents that the denoiser takes in.
    """

    base: str
    variant: str
    denoiser: str
    parts: Mapping[str, str]
    missing: tuple[str, ...]
    in_channels: int


def layout_of(shapes: Shapes) -> Layout | None:
    """None for a file that is no image checkpoint in an original layout.

    Raises ModelBroken for one that is, but cannot be used.
    """
    for prefix in DENOISER_PREFIXES:
        for landmarks, read in (
            (UNET_LANDMARKS, _unet),
            (SD3_LANDMARKS, _sd3),
            (FLUX_LANDMARKS, _flux),
        ):
            if all(prefix + name in shapes for name in landmarks):
                _refuse_quantised(shapes)
                return read(shapes, prefix)
    return None


def under(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The tensors of one component, without their prefix."""
    return {
        name.removeprefix(prefix): shape
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }


def names_under(layout: Layout, part: str, names: Iterable[str]) -> list[str]:
    """Those of a file's names that belong to one component."""
    own = layout.parts[part]
    others = tuple(prefix for prefix in layout.parts.values() if prefix not in ("", own))
    return [name for name in names if name.startswith(own) and not name.startswith(others)]


def _unet(shapes: Shapes, prefix: str) -> Layout | None:
    if any(name in shapes for name in OTHER_NOISE):
        raise ModelBroken(
            "it was trained with another schedule of noise (EDM), which its file does not fully "
            "tell; take its diffusers folder"
        )
    base = _unet_base(shapes, prefix)
    taken = _channels(shapes, f"{prefix}input_blocks.0.0.weight")
    if taken not in CHANNELS:
        raise ModelBroken(
            f"its UNet takes {taken} channels; only checkpoints that draw from text (4) and for "
            "inpainting (9) are loaded from one file: take its diffusers folder"
        )
    return _layout(shapes, base, CHANNELS[taken], "unet", prefix, taken)


def _unet_base(shapes: Shapes, prefix: str) -> str:
    """By the text encoders it carries, else by how wide a text its cross-attention reads."""
    for carried in ("sdxl", "sdxl-refiner", "sd2", "sd1"):
        if _first(shapes, TEXT_ENCODERS[carried].values()):
            return carried
    widths = {
        shape[-1]
        for name, shape in shapes.items()
        if name.startswith(prefix) and name.endswith("attn2.to_k.weight")
    }
    base = CONTEXT_WIDTHS.get(next(iter(widths))) if len(widths) == 1 else None
    if base is None:
        raise ModelBroken(
            "the file holds a UNet of an unknown kind and no text encoder; take the whole "
            "checkpoint, or its diffusers folder"
        )
    return base


def _sd3(shapes: Shapes, prefix: str) -> Layout | None:
    taken = _channels(shapes, f"{prefix}x_embedder.proj.weight")
    return _layout(shapes, "sd3", "", "transformer", prefix, taken)


def _flux(shapes: Shapes, prefix: str) -> Layout | None:
    if any(name.startswith(tuple(prefix + other for other in NOT_FLUX)) for name in shapes):
        return None
    taken = _channels(shapes, f"{prefix}img_in.weight")
    given = shapes[f"{prefix}final_layer.linear.weight"][0]
    # Fill reads a masked picture and the pixels of a mask beside the latents.
    variant = "" if taken == given else "fill" if taken > 2 * given else None
    if variant is None:
        raise ModelBroken(
            f"its transformer takes {taken} channels and gives {given}; FLUX dev, schnell, Kontext "
            "and Fill are loaded from one file: take the diffusers folder of others"
        )
    return _layout(shapes, "flux", variant, "transformer", prefix, taken)


def _layout(
    shapes: Shapes, base: str, variant: str, denoiser: str, prefix: str, in_channels: int
) -> Layout:
    wanted = {denoiser: (prefix,), "vae": VAE_PREFIXES, **TEXT_ENCODERS[base]}
    found = {part: _first(shapes, [prefixes]) for part, prefixes in wanted.items()}
    found[denoiser] = prefix
    parts = {part: where for part, where in found.items() if where is not None}
    missing = tuple(part for part in wanted if part not in parts and (base, part) not in OPTIONAL)
    return Layout(base, variant, denoiser, parts, missing, in_channels)


def _first(shapes: Shapes, choices: Iterable[tuple[str, ...]]) -> str | None:
    """The first prefix under which there is something."""
    prefixes = [prefix for choice in choices for prefix in choice]
    return next((p for p in prefixes if any(name.startswith(p) for name in shapes)), None)


def _channels(shapes: Shapes, name: str) -> int:
    shape = shapes[name]
    if len(shape) < 2:
        raise ModelBroken(f"{name} has the impossible shape {list(shape)}")
    return shape[1]


def _refuse_quantised(shapes: Shapes) -> None:
    name = next((name for name in shapes if name.endswith(QUANTISED)), None)
    if name is not None:
        raise ModelBroken(
            f"its weights are quantised in a way that is not read ({name[:100]}); take the file "
            "in fp16, bf16 or plain fp8"
        )


def part_of(shapes: Shapes) -> PartFile | None:
    """What a file is that holds one component by itself, as they are handed on for FLUX and SD3."""
    for name, landmarks in PARTS.items():
        for prefix in (*VAE_PREFIXES, "") if name == "vae" else ("",):
            if all(prefix + landmark in shapes for landmark in landmarks):
                return PartFile(name, prefix)
    return None
