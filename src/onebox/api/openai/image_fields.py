"""The fields that OpenAI's picture routes share, and which of them are refused."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from onebox.api.options import RequestOptions
from onebox.core.errors import InvalidInput
from onebox.core.seeds import SEEDS
from onebox.imaging.diffusion.sizes import MAX_SIDE, MIN_SIDE
from onebox.tasks.picture_input import MAX_ADAPTERS, MAX_PROMPT, LoraRef, TextualInversionRef

SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")
# Fields of the newest clients that would change what comes back, and that this server does not do.
REFUSED = ("complexity", "frame_count", "frame_duration_ms", "svg", "markup")
# Formats that the types know beside those that are made.
REFUSED_FORMATS = ("gif", "svg")
# What goes to the task under the same name.
OWN = (
    "prompt",
    "negative_prompt",
    "seed",
    "steps",
    "guidance_scale",
    "strength",
    "scheduler",
    "clip_skip",
    "loras",
    "textual_inversions",
    "deterministic",
    "n",
    "background",
    "output_format",
    "output_compression",
    "partial_images",
)


# What the tasks call otherwise.
ROUTE_NAMES = {"images": "image", "references": "image", "width": "size", "height": "size"}


class ImageFields(RequestOptions):
    """What all three routes take. null is the same as left out."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(None, max_length=512)
    n: int | None = Field(None, ge=1, le=10)
    size: str | None = Field(
        None, description="`auto`, or WxH in pixels, each a multiple of 8 from 64 to 2048."
    )
    response_format: Literal["b64_json", "url"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = Field(
        None, description="`transparent`: what is drawn is cut out by another model."
    )
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] | None = Field(
        None, description="`png`, `jpeg` or `webp`; the others are refused."
    )
    output_compression: int | None = Field(
        None, ge=0, le=100, description="Quality of jpeg and webp; 90 if left out."
    )
    user: str | None = None
    negative_prompt: str | None = Field(
        None, max_length=MAX_PROMPT, description="What not to draw."
    )
    seed: int | None = Field(
        None, ge=0, lt=SEEDS, description="Picture i uses seed + i; random if left out."
    )
    steps: int | None = Field(None, ge=1, le=150, description="Denoising steps.")
    guidance_scale: float | None = Field(
        None, ge=0, le=30, allow_inf_nan=False, description="How strictly the prompt is met."
    )
    scheduler: str | None = Field(
        None, max_length=64, description="By its common name: `euler`, `dpmpp_2m_karras`, …"
    )
    clip_skip: int | None = Field(
        None, ge=0, le=11, description="Layers left out at the end of a CLIP text encoder."
    )
    loras: list[LoraRef] | None = Field(
        None,
        max_length=MAX_ADAPTERS,
        description="Installed ones that work on the model; `[]` for none at all.",
    )
    textual_inversions: list[TextualInversionRef] | None = Field(
        None, max_length=MAX_ADAPTERS, description="Installed ones whose words the prompts have."
    )
    deterministic: bool | None = Field(
        None, description="The same bits for the same seed, alone or under load."
    )


class PromptedFields(ImageFields):
    """What the routes take that follow a prompt.

    `quality` and `safety_identifier` are accepted, without effect.
    """

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = (
        None
    )
    stream: bool | None = None
    partial_images: int | None = Field(
        None, ge=0, le=3, description="Pictures of the making of each; with `stream` alone."
    )
    safety_identifier: str | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: dict[str, Any] | None = None


def refuse_unsupported(body: ImageFields) -> None:
    """Raises InvalidInput with the name of what this server does not do, or not together."""
    _refuse_newest(body)
    if body.background == "transparent" and body.output_format == "jpeg":
        raise InvalidInput(
            "jpeg has no transparency; background=transparent needs output_format png or webp",
            param="background",
        )
    if not isinstance(body, PromptedFields):
        return
    refuse_odd_streams(body.stream, body.partial_images, body.response_format)


def refuse_odd_streams(
    stream: bool | None, partial_images: int | None, response_format: str | None
) -> None:
    """Raises InvalidInput for what only a streamed answer has, or cannot have."""
    if partial_images and not stream:
        raise InvalidInput("partial_images needs stream=true", param="partial_images")
    if stream and response_format == "url":
        raise InvalidInput(
            "stream=true sends pictures as base64; leave out response_format=url",
            param="response_format",
        )


def parse_size(size: str | None) -> tuple[int | None, int | None]:
    """ "256x512" → (256, 512); "auto" or nothing → (None, None). Raises InvalidInput."""
    if size is None or size == "auto":
        return None, None
    match = SIZE.fullmatch(size)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if any(side % 8 or not MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise InvalidInput(
            f"size must be auto, or WIDTHxHEIGHT in pixels, each a multiple of 8 from {MIN_SIDE} "
            f"to {MAX_SIDE}",
            param="size",
            details={"min": MIN_SIDE, "max": MAX_SIDE, "multiple_of": 8, "received": size[:32]},
        )
    return sides


def own_fields(body: ImageFields, *further: str) -> dict[str, Any]:
    """Of the fields that go to the task, those that were given; size as width and height."""
    width, height = parse_size(body.size)
    given = {name: getattr(body, name, None) for name in (*OWN, *further)}
    given |= {"width": width, "height": height}
    return {name: value for name, value in given.items() if value is not None}


@contextlib.contextmanager
def own_names() -> Iterator[None]:
    """The fields of the tasks under the names that the routes have for them, in errors."""
    try:
        yield
    except InvalidInput as error:
        error.param = ROUTE_NAMES.get(error.param or "", error.param)
        raise


def _refuse_newest(body: BaseModel) -> None:
    refused = [name for name in REFUSED if getattr(body, name, None) is not None]
    if getattr(body, "output_format", None) in REFUSED_FORMATS:
        refused.append("output_format")
    if refused:
        name = refused[0]
        told = getattr(body, name)
        shown = f"{name}={told!r}" if isinstance(told, str | int) else name
        raise InvalidInput(
            f"{shown[:100]} is not supported by this server",
            param=name,
            details={"unsupported": refused},
        )
