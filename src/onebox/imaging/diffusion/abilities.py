"""What diffusers' picture pipelines can do, as tables: known from a class name, nothing is loaded.

A checkpoint names one class in `model_index.json`; the classes of its row work with its weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.imaging.diffusion.recipe import Mode

TEXT: Mode = "text-to-image"
IMAGE: Mode = "image-to-image"
INPAINT: Mode = "inpainting"
EDIT: Mode = "edit"
UPSCALE: Mode = "upscale"


# One row for each kind of weights: which class does what with them.
ROWS: tuple[Mapping[Mode, str], ...] = (
    {
        TEXT: "StableDiffusionPipeline",
        IMAGE: "StableDiffusionImg2ImgPipeline",
        INPAINT: "StableDiffusionInpaintPipeline",
    },
    {
        TEXT: "StableDiffusionXLPipeline",
        IMAGE: "StableDiffusionXLImg2ImgPipeline",
        INPAINT: "StableDiffusionXLInpaintPipeline",
    },
    {
        TEXT: "StableDiffusion3Pipeline",
        IMAGE: "StableDiffusion3Img2ImgPipeline",
        INPAINT: "StableDiffusion3InpaintPipeline",
    },
    {TEXT: "FluxPipeline", IMAGE: "FluxImg2ImgPipeline", INPAINT: "FluxInpaintPipeline"},
    {
        TEXT: "FluxKontextPipeline",
        EDIT: "FluxKontextPipeline",
        INPAINT: "FluxKontextInpaintPipeline",
    },
    {INPAINT: "FluxFillPipeline"},
    {
        TEXT: "LatentConsistencyModelPipeline",
        IMAGE: "LatentConsistencyModelImg2ImgPipeline",
        INPAINT: "StableDiffusionInpaintPipeline",
    },
    # Its class for inpainting asks for a setting that its models do not have (diffusers 0.42).
    {TEXT: "ChromaPipeline", IMAGE: "ChromaImg2ImgPipeline"},
    {TEXT: "KolorsPipeline", IMAGE: "KolorsImg2ImgPipeline"},
    {
        TEXT: "QwenImagePipeline",
        IMAGE: "QwenImageImg2ImgPipeline",
        INPAINT: "QwenImageInpaintPipeline",
    },
    {TEXT: "Flux2KleinPipeline", EDIT: "Flux2KleinPipeline"},
    {TEXT: "ZImagePipeline", IMAGE: "ZImageImg2ImgPipeline", INPAINT: "ZImageInpaintPipeline"},
    {EDIT: "StableDiffusionInstructPix2PixPipeline"},
    {UPSCALE: "StableDiffusionUpscalePipeline"},
    {UPSCALE: "StableDiffusionLatentUpscalePipeline"},
    {TEXT: "PixArtAlphaPipeline"},
    {TEXT: "PixArtSigmaPipeline"},
    {TEXT: "SanaPipeline"},
    {TEXT: "AuraFlowPipeline"},
    {TEXT: "Lumina2Pipeline"},
    {TEXT: "CogView3PlusPipeline"},
    {TEXT: "CogView4Pipeline"},
    {TEXT: "HunyuanDiTPipeline"},
)
# Kinds of weights by the name that LoRAs and other additions are made for.
BASES: Mapping[str, str] = {
    "StableDiffusionPipeline": "sd1",
    "LatentConsistencyModelPipeline": "sd1",
    "StableDiffusionXLPipeline": "sdxl",
    "StableDiffusion3Pipeline": "sd3",
    "FluxPipeline": "flux",
    "FluxKontextPipeline": "flux",
    "FluxFillPipeline": "flux",
}
# Width of the text that a denoiser of the second Stable Diffusion reads; the first one's is 768.
SD2_TEXT_WIDTH = 1024
# Latents, the mask, and the latents of the picture without what is to be drawn.
TRAINED_TO_INPAINT = 9
LATENTS = 4
# Pixels that the sides must be multiples of, where it is not 16: what decoding makes of a latent,
# times the latents that a transformer takes as one.
MULTIPLES: Mapping[str, int] = {
    "StableDiffusionPipeline": 8,
    "StableDiffusionXLPipeline": 8,
    "LatentConsistencyModelPipeline": 8,
    "KolorsPipeline": 8,
    "StableDiffusionInstructPix2PixPipeline": 8,
    "StableDiffusionUpscalePipeline": 8,
    "SanaPipeline": 32,
    # Its denoiser halves twice the latents' size three times.
    "StableDiffusionLatentUpscalePipeline": 32,
}
# Side of the pictures that were learnt, where no configuration tells it, or one tells another.
NATIVE_SIZES: Mapping[str, int] = {
    "FluxPipeline": 1024,
    "FluxKontextPipeline": 1024,
    "FluxFillPipeline": 1024,
    "ChromaPipeline": 1024,
    "QwenImagePipeline": 1024,
    "Flux2KleinPipeline": 1024,
    "ZImagePipeline": 1024,
    "AuraFlowPipeline": 1024,
}
UPSCALE_FACTORS: Mapping[str, int] = {
    "StableDiffusionUpscalePipeline": 4,
    "StableDiffusionLatentUpscalePipeline": 2,
}
# Whose denoiser is given latents in rows and columns, as the picture is, so that it can look at a
# part of them; the others are given one long row, and count its length.
IN_ROWS = frozenset(
    {
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "StableDiffusion3Pipeline",
        "LatentConsistencyModelPipeline",
        "KolorsPipeline",
        "StableDiffusionUpscalePipeline",
        "StableDiffusionLatentUpscalePipeline",
    }
)
# What models want that were trained otherwise than the first ones; a guidance that suits those
# would burn the pictures of most.
DEFAULTS: Mapping[str, Mapping[str, float]] = {
    "StableDiffusion3Pipeline": {"guidance_scale": 7.0},
    "FluxPipeline": {"guidance_scale": 3.5},
    "FluxKontextPipeline": {"guidance_scale": 2.5},
    "FluxFillPipeline": {"guidance_scale": 30.0},
    "LatentConsistencyModelPipeline": {"guidance_scale": 8.5, "steps": 8},
    "ChromaPipeline": {"guidance_scale": 5.0},
    "KolorsPipeline": {"guidance_scale": 5.0},
    "QwenImagePipeline": {"guidance_scale": 4.0},
    "Flux2KleinPipeline": {"guidance_scale": 4.0},
    "ZImagePipeline": {"guidance_scale": 5.0},
    "StableDiffusionUpscalePipeline": {"guidance_scale": 9.0},
    # It follows the picture, not the prompt.
    "StableDiffusionLatentUpscalePipeline": {"guidance_scale": 0.0},
    "PixArtAlphaPipeline": {"guidance_scale": 4.5},
    "PixArtSigmaPipeline": {"guidance_scale": 4.5},
    "SanaPipeline": {"guidance_scale": 4.5},
    "AuraFlowPipeline": {"guidance_scale": 3.5},
    "Lumina2Pipeline": {"guidance_scale": 4.0},
    "CogView3PlusPipeline": {"guidance_scale": 7.0},
    "CogView4Pipeline": {"guidance_scale": 5.0},
    "HunyuanDiTPipeline": {"guidance_scale": 5.0},
}
# How many pictures an instruction may speak of.
REFERENCES: Mapping[str, int] = {
    "FluxKontextPipeline": 16,
    "Flux2KleinPipeline": 16,
    "StableDiffusionInstructPix2PixPipeline": 1,
}
# Classes that are shown several pictures as they are, all of them for each that they draw.
SHOWN_SINGLY = frozenset({"Flux2KleinPipeline"})
# What is asked of a checkpoint by whom: a task needs one of these modes.
TASK_MODES: Mapping[str, frozenset[Mode]] = {
    "text-to-image": frozenset({TEXT}),
    "image-to-image": frozenset({IMAGE, EDIT}),
    "inpainting": frozenset({INPAINT}),
    "variations": frozenset({IMAGE}),
    "upscale": frozenset({UPSCALE, IMAGE}),
    "background": frozenset({INPAINT}),
}
TRY_ON = "try-on"
# Bases that image prompts (IP-Adapters) are made for.
IMAGE_PROMPT_BASES = frozenset({"sd1", "sdxl"})
TASK_NAMES = frozenset({*TASK_MODES, TRY_ON})


def class_names() -> frozenset[str]:
    """Every class that a checkpoint may name."""
    return frozenset(name for row in ROWS for name in row.values())


def kind_of(class_name: str) -> str:
    """The class that stands for its row: `StableDiffusionPipeline` for all that share its weights.

    Raises KeyError for a class that is in none.
    """
    return next(iter(_row(class_name).values()))


def class_for(class_name: str, mode: Mode) -> str:
    """The class that does this with the weights of a checkpoint that names `class_name`.

    Raises KeyError when there is none.
    """
    return _row(class_name)[mode]


def base_of(class_name: str, *, text_width: int | None = None, is_refiner: bool = False) -> str:
    """What additions must be made for; a class name where none is usual.

    Args:
        text_width: of the text that the denoiser reads, `cross_attention_dim`.
        is_refiner: whether sizes come with an aesthetic score, as in the refiner of XL.
    """
    kind = kind_of(class_name)
    base = BASES.get(kind, kind)
    if base == "sd1" and text_width == SD2_TEXT_WIDTH:
        return "sd2"
    return "sdxl-refiner" if base == "sdxl" and is_refiner else base


def modes_of(class_name: str, base: str, in_channels: int | None) -> frozenset[Mode]:
    """What the weights can do; none for a denoiser of a shape that no class of the row takes.

    Args:
        in_channels: of the denoiser; None when its configuration does not tell.
    """
    row = _row(class_name)
    if base in {"sd1", "sd2", "sdxl", "sdxl-refiner"} and in_channels is not None:
        if in_channels == TRAINED_TO_INPAINT:
            return frozenset({INPAINT})
        if in_channels != LATENTS:
            return frozenset()
    modes = frozenset(row)
    return modes - {TEXT} if base == "sdxl-refiner" else modes


def tasks_of(class_name: str, base: str, in_channels: int | None) -> frozenset[str]:
    """The tasks that the weights can do."""
    modes = modes_of(class_name, base, in_channels)
    tasks = {task for task, needed in TASK_MODES.items() if needed & modes}
    by_reference = EDIT in modes and REFERENCES[kind_of(class_name)] > 1
    if by_reference or (INPAINT in modes and base in IMAGE_PROMPT_BASES):
        tasks.add(TRY_ON)
    return frozenset(tasks)


def defaults_of(class_name: str | None) -> Mapping[str, float]:
    """Steps and guidance that suit the weights, where they are not the usual ones."""
    return DEFAULTS.get(kind_of(class_name), {}) if class_name in class_names() else {}


def facts_of(
    class_name: str, base: str, in_channels: int | None, native_size: int | None
) -> dict[str, Any]:
    """What tasks want to know of a checkpoint, as its entry's facts hold it."""
    kind = kind_of(class_name)
    facts = {
        "native_size": NATIVE_SIZES.get(kind) or native_size,
        "base": base,
        "multiple": MULTIPLES.get(kind, 16),
        "in_channels": in_channels,
    }
    return {name: value for name, value in facts.items() if value is not None}


def _row(class_name: str) -> Mapping[Mode, str]:
    """A class of several rows belongs to the first."""
    for row in ROWS:
        if class_name in row.values():
            return row
    raise KeyError(class_name)
