"""`POST /v1/images/generations`:

OpenAI's picture route. An adapter over the task `text-to-image`.
"""

from __future__ import annotations

import base64
import re
import time
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import OpenAIRoute
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact
from onebox.core.seeds import SEEDS
from onebox.services.request import Outcome
from onebox.tasks.text_to_image import TextToImageInput

router = APIRouter(route_class=OpenAIRoute, tags=["openai"])

SIZE = re.compile(r"^(\d{1,5})x(\d{1,5})$")
MAX_SIDE = 2048
MIN_SIDE = 64
# Fields of the newest clients that would change what comes back, and that this server does not do.
REFUSED = ("partial_images", "complexity", "frame_count", "frame_duration_ms", "svg")


class ImagesRequest(RequestOptions):
    """OpenAI's fields, and ours (`negative_prompt`, `seed`, `steps`, `guidance_scale`,
    `deterministic`, `timeout_s`, `priority`) through `extra_body`.

    `quality`, `style`, `moderation`, `user` and `safety_identifier` are accepted, without effect.
    """

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=4000)
    model: str | None = Field(None, max_length=512)
    n: int | None = Field(None, ge=1, le=10)
    size: str | None = Field(
        None, description="`auto`, or WxH in pixels, each a multiple of 8 from 64 to 2048."
    )
    quality: Literal["low", "medium", "high", "xhigh", "max", "auto", "standard", "hd"] | None = (
        None
    )
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp", "gif", "svg"] | None = None
    output_compression: int | None = Field(None, ge=0, le=100)
    response_format: Literal["b64_json", "url"] | None = None
    stream: bool | None = None
    moderation: str | None = None
    style: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    partial_images: int | None = None
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: dict[str, Any] | None = None
    negative_prompt: str | None = Field(None, max_length=4000)
    seed: int | None = Field(None, ge=0, lt=SEEDS)
    steps: int | None = Field(None, ge=1, le=150)
    guidance_scale: float | None = Field(None, ge=0, le=30, allow_inf_nan=False)
    deterministic: bool = False


class ImageItem(BaseModel):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None
    seed: int


class ImagesResponse(BaseModel):
    created: int
    data: list[ImageItem]
    background: str
    output_format: str
    quality: str
    size: str


@router.post(
    "/v1/images/generations", summary="Pictures from a prompt, as OpenAI's clients ask for them"
)
async def generate(
    body: ImagesRequest, request: Request, services: ServicesDep, caller: CallerDep
) -> ImagesResponse:
    _refuse_unsupported(body)
    width, height = parse_size(body.size)
    task_input = TextToImageInput(
        prompt=body.prompt,
        negative_prompt=body.negative_prompt,
        width=width,
        height=height,
        steps=body.steps,
        guidance_scale=body.guidance_scale,
        seed=body.seed,
        n=body.n or 1,
        deterministic=body.deterministic,
        output_format=body.output_format or "png",  # type: ignore[arg-type]  # gif and svg were refused
        output_compression=90 if body.output_compression is None else body.output_compression,
    )
    prepared = await services.inference.prepare(
        "text-to-image",
        task_input,
        model=body.model,
        caller=caller,
        options=options_of(body, request),
    )
    outcome = await services.inference.run(prepared)
    base_url = (services.settings.public_url or str(request.base_url)).rstrip("/")
    return _response(body, outcome, services, base_url)


def parse_size(size: str | None) -> tuple[int | None, int | None]:
    """ "256x512" → (256, 512); "auto" or nothing → (None, None). Raises InvalidInput."""
    if size is None or size == "auto":
        return None, None
    match = SIZE.match(size)
    sides = (int(match[1]), int(match[2])) if match else (0, 0)
    if any(side % 8 or not MIN_SIDE <= side <= MAX_SIDE for side in sides):
        raise InvalidInput(
            f"size must be auto, or WIDTHxHEIGHT in pixels, each a multiple of 8 from {MIN_SIDE} "
            f"to {MAX_SIDE}",
            param="size",
            details={"min": MIN_SIDE, "max": MAX_SIDE, "multiple_of": 8, "received": size[:32]},
        )
    return sides


def _refuse_unsupported(body: ImagesRequest) -> None:
    refused = [name for name in REFUSED if getattr(body, name)]
    if body.stream:
        refused.append("stream")
    if body.background == "transparent":
        refused.append("background")
    if body.output_format in ("gif", "svg"):
        refused.append("output_format")
    if refused:
        name = refused[0]
        raise InvalidInput(
            f"{name}={getattr(body, name)!r} is not supported by this server",
            param=name,
            details={"unsupported": refused},
        )


def _response(
    body: ImagesRequest, outcome: Outcome, services: Services, base_url: str
) -> ImagesResponse:
    used = outcome.prepared.input
    assert isinstance(used, TextToImageInput)
    return ImagesResponse(
        created=int(time.time()),
        data=[_item(body, artifact, services, base_url) for artifact in outcome.artifacts],
        background="opaque",
        output_format=used.output_format,
        quality=body.quality or "auto",
        size=f"{used.width}x{used.height}",
    )


def _item(body: ImagesRequest, artifact: Artifact, services: Services, base_url: str) -> ImageItem:
    seed = artifact.meta["seed"]
    if body.response_format == "url":
        return ImageItem(url=f"{base_url}/files/{services.files.put(artifact)}", seed=seed)
    return ImageItem(b64_json=base64.b64encode(artifact.data or b"").decode(), seed=seed)
