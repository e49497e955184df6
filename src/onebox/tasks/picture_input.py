"""What all requests for drawn pictures may say."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from onebox.core.errors import InvalidInput
from onebox.core.seeds import SEEDS
from onebox.imaging.diffusion.sizes import MAX_SIDE, MIN_SIDE

MAX_PROMPT = 10_000
MAX_ADAPTERS = 8
PictureFormat = Literal["png", "jpeg", "webp"]
# Pixels a side that a format has room for.
MAX_SIDES = {"jpeg": 65_500, "webp": 16_383}
Side = Field(default=None, ge=MIN_SIDE, le=MAX_SIDE, multiple_of=8, description="Pixels.")


def require_room(output_format: PictureFormat, width: int, height: int) -> None:
    """Raises InvalidInput for a picture that is too long for its format."""
    most = MAX_SIDES.get(output_format)
    if most is not None and max(width, height) > most:
        raise InvalidInput(
            f"the result is {width}x{height}, and a side of {output_format} has {most} pixels at "
            "most; take png, or send a smaller picture",
            param="output_format",
            details={"width": width, "height": height, "max": most},
        )


class LoraRef(BaseModel):
    """A LoRA among the models, and how strongly it works."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=512)
    scale: float = Field(default=1.0, ge=-4, le=4, allow_inf_nan=False)


class TextualInversionRef(BaseModel):
    """A textual inversion among the models, and the word that stands for it in the prompt."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=512)
    token: str | None = Field(
        default=None, min_length=1, max_length=64, description="By default the one its file names."
    )


class DrawingInput(BaseModel):
    """What requests for pictures and for videos have in common.

    Everything left out is filled in from the checkpoint, then from the server's settings.
    """

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    negative_prompt: str | None = Field(
        default=None, max_length=MAX_PROMPT, description="What not to draw."
    )
    steps: int | None = Field(default=None, ge=1, le=150, description="Denoising steps.")
    guidance_scale: float | None = Field(
        default=None,
        ge=0,
        le=30,
        allow_inf_nan=False,
        description="How strictly the prompt is met.",
    )
    seed: int | None = Field(default=None, ge=0, lt=SEEDS, description="Random if left out.")
    scheduler: str | None = Field(
        default=None, max_length=64, description="By its common name: `euler`, `dpmpp_2m_karras`, …"
    )
    loras: list[LoraRef] | None = Field(
        default=None,
        max_length=MAX_ADAPTERS,
        description="Installed ones that work on the model; `[]` for none at all.",
    )
    textual_inversions: list[TextualInversionRef] | None = Field(
        default=None,
        max_length=MAX_ADAPTERS,
        description="Installed ones whose words the prompts have.",
    )
    deterministic: bool = Field(
        default=False,
        description="The same bits for the same seed, alone or under load: drawn by itself.",
    )
    partial_images: int = Field(
        default=0, ge=0, le=3, description="Pictures of the making, for a streamed answer."
    )


class PictureInput(DrawingInput):
    """The request for some pictures."""

    seed: int | None = Field(
        default=None, ge=0, lt=SEEDS, description="Picture i uses seed + i; random if left out."
    )
    n: int = Field(default=1, ge=1, le=10, description="Pictures.")
    clip_skip: int | None = Field(
        default=None, ge=0, le=11, description="Layers left out at the end of a CLIP text encoder."
    )
    background: Literal["auto", "opaque", "transparent"] = Field(
        default="auto", description="`transparent`: what is drawn is cut out by another model."
    )
    output_format: PictureFormat = "png"
    output_compression: int = Field(
        default=90, ge=0, le=100, description="Quality of jpeg and webp."
    )
