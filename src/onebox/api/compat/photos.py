"""A product's photo in, the product on another background out: for `POST /generate`.

An adapter over the task `background`.
"""

from __future__ import annotations

from typing import Literal

from fastapi import Request, Response
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from onebox.api.bodies import filled
from onebox.api.compat.asking import MODEL, large_json, run, seconds_of, size_of
from onebox.api.entering import count_task
from onebox.api.forms import read_form
from onebox.api.given_picture import GivenPicture
from onebox.api.picture_bodies import load_pictures, sources_of
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.services.request import Outcome
from onebox.tasks.background import BackgroundInput
from onebox.tasks.picture_input import MAX_PROMPT

TASK = "background"
# The servers that this stands for let nobody choose it.
PROMPT = "professional product photography, clean studio background, soft light, sharp detail"


class PhotoRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    image: GivenPicture = Field(
        validation_alias=AliasChoices("product_file", "image", "file", "photo"),
        description="The product's photo: PNG, JPEG or WebP.",
    )
    mask: GivenPicture | None = Field(
        default=None,
        validation_alias=AliasChoices("mask_file", "mask"),
        description="Where it is white, the background is drawn; by default a model finds the "
        "product.",
    )
    reference_file: GivenPicture | None = Field(
        default=None, description="Refused: say in `prompt` what to draw."
    )
    prompt: str = Field(
        default=PROMPT, min_length=1, max_length=MAX_PROMPT, description="What is drawn."
    )
    model: str | None = MODEL


class Prediction(BaseModel):
    image: str = Field(description="PNG in base64.")
    model: str = Field(description="What drew it.")
    width: int
    height: int
    seed: int
    confidence: float | None = Field(
        description="How likely what was cut out is the product; null where no model had to tell."
    )


class PhotoAnswer(BaseModel):
    success: Literal[True]
    request_id: str
    prediction: Prediction
    processing_time_ms: float


async def draw_background(request: Request) -> Response:
    services: Services = request.app.state.services
    await count_task(request, TASK)
    body = await read_form(request, PhotoRequest)
    if body.reference_file is not None:
        raise InvalidInput(
            "reference_file is not supported: backgrounds are drawn by a prompt here; leave it "
            "out, and say in prompt what to draw",
            param="reference_file",
        )
    pictures = await load_pictures(body, sources_of(services, request.state.caller))
    (image,), mask = pictures["image"], next(iter(pictures["mask"]), None)
    task_input = filled(
        BackgroundInput, image=image, mask=mask, mask_mode="luminance", prompt=body.prompt
    )
    model = body.model or services.settings.background_model
    return await _answer(request, await run(request, TASK, task_input, model))


async def _answer(request: Request, outcome: Outcome) -> Response:
    (picture,) = outcome.artifacts
    prediction = {
        "image": picture.data or b"",
        "model": outcome.prepared.entry.name,
        **size_of(picture),
        "seed": picture.meta["seed"],
        "confidence": picture.meta.get("confidence"),
    }
    told = {
        "success": True,
        "request_id": request.scope["request_id"],
        "prediction": prediction,
        "processing_time_ms": round(seconds_of(outcome) * 1000, 1),
    }
    return await large_json(told)
