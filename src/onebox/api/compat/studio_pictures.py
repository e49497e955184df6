"""`POST /api/image` and `/api/edit-image`: adapters over the tasks that draw."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.compat.asking import MODEL, large_json, run, seconds_of, size_of
from onebox.api.compat.routing import StudioRoute
from onebox.api.given_picture import GivenPicture
from onebox.api.picture_bodies import load_pictures, picture_body, read_body, sources_of
from onebox.bootstrap import Services
from onebox.services.request import Outcome
from onebox.tasks.image_to_image import ImageToImageInput
from onebox.tasks.inpainting import InpaintingInput
from onebox.tasks.picture_input import MAX_PROMPT, Side
from onebox.tasks.text_to_image import TextToImageInput

# What the tasks call otherwise.
TASK_NAMES = {"num_inference_steps": "steps"}


class DrawnFields(BaseModel):
    """null is the same as left out: as it suits the model."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT)
    model: str | None = MODEL
    num_inference_steps: int | None = Field(default=None, ge=1, le=150)
    guidance_scale: float | None = Field(default=None, ge=0, le=30, allow_inf_nan=False)


class ImageRequest(DrawnFields):
    height: int | None = Side
    width: int | None = Side


class EditImageRequest(DrawnFields):
    image: GivenPicture
    mask: GivenPicture | None = Field(
        default=None, description="Where it is white, the picture is drawn anew."
    )
    mask_mode: Literal["luminance", "alpha"] = Field(
        default="luminance", description="`alpha`: where the mask is transparent."
    )
    strength: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)


class ImageAnswer(BaseModel):
    image: str = Field(description="PNG in base64.")
    model: str = Field(description="What drew it.")
    generation_time: float = Field(description="Seconds.")
    size: int = Field(description="Bytes of the PNG.")
    width: int
    height: int


def create_router() -> APIRouter:
    router = APIRouter(route_class=StudioRoute, tags=["compat"])
    told: dict[int | str, dict[str, Any]] = {200: {"model": ImageAnswer}}
    router.add_api_route(
        "/api/image",
        draw,
        methods=["POST"],
        operation_id="studio_image",
        summary="A picture from a prompt",
        response_class=Response,
        responses=told,
        openapi_extra=json_body(ImageRequest),
    )
    router.add_api_route(
        "/api/edit-image",
        edit,
        methods=["POST"],
        operation_id="studio_edit_image",
        summary="A picture made of another, or anew where a mask is white",
        response_class=Response,
        responses=told,
        openapi_extra=picture_body(EditImageRequest),
    )
    return router


async def draw(request: Request) -> Response:
    body = await read_json(request, ImageRequest)
    task_input = filled(TextToImageInput, **_given(body, "width", "height"))
    return await _answer(await run(request, "text-to-image", task_input, body.model))


async def edit(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_body(request, EditImageRequest)
    pictures = await load_pictures(body, sources_of(services, request.state.caller))
    given = _given(body, "strength")
    if body.mask is None:
        whole = filled(ImageToImageInput, images=pictures["image"], **given)
        return await _answer(await run(request, "image-to-image", whole, body.model))
    (image,), (mask,) = pictures["image"], pictures["mask"]
    part = filled(InpaintingInput, image=image, mask=mask, mask_mode=body.mask_mode, **given)
    return await _answer(await run(request, "inpainting", part, body.model))


def _given(body: DrawnFields, *further: str) -> dict[str, Any]:
    """The fields of the task that were given."""
    names = ("prompt", "negative_prompt", "num_inference_steps", "guidance_scale", *further)
    given = {TASK_NAMES.get(name, name): getattr(body, name) for name in names}
    return {name: value for name, value in given.items() if value is not None}


async def _answer(outcome: Outcome) -> Response:
    (picture,) = outcome.artifacts
    data = picture.data or b""
    told = {
        "image": data,
        "model": outcome.prepared.entry.name,
        "generation_time": seconds_of(outcome),
        "size": len(data),
        **size_of(picture),
    }
    return await large_json(told)
