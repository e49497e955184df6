"""`POST /api/video/text-to-video` and `/api/video/image-to-video`: a video as the answer.

Adapters over the tasks of these names. Such a request must fit the time limit of requests.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.compat.asking import MODEL, file_answer, file_response, run, seconds_of
from onebox.api.compat.routing import StudioRoute
from onebox.api.given_picture import GivenPicture
from onebox.api.picture_bodies import load_pictures, picture_body, read_body, sources_of
from onebox.bootstrap import Services
from onebox.services.request import Outcome
from onebox.tasks.image_to_video import ImageToVideoInput
from onebox.tasks.picture_input import MAX_PROMPT
from onebox.tasks.text_to_video import TextToVideoInput
from onebox.tasks.video_input import MAX_FPS

MP4 = "video/mp4"
TOLD = "The video; `X-Video-Model` names what drew it, `X-Generation-Time` tells the seconds."


class FilmedFields(BaseModel):
    """null is the same as left out: as it suits the model."""

    model_config = ConfigDict(extra="forbid")

    prompt: str | None = Field(default=None, max_length=MAX_PROMPT)
    negative_prompt: str | None = Field(default=None, max_length=MAX_PROMPT)
    model: str | None = MODEL
    duration: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Seconds.")
    fps: int | None = Field(default=None, ge=1, le=MAX_FPS, description="Frames a second.")
    num_inference_steps: int | None = Field(default=None, ge=1, le=150)


class TextToVideoRequest(FilmedFields):
    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)


class ImageToVideoRequest(FilmedFields):
    image: GivenPicture = Field(description="The first frame.")


def create_router() -> APIRouter:
    router = APIRouter(route_class=StudioRoute, tags=["compat"])
    router.add_api_route(
        "/api/video/text-to-video",
        film_text,
        methods=["POST"],
        operation_id="studio_text_to_video",
        summary="A video from a prompt",
        response_class=Response,
        responses=file_response(MP4, TOLD),
        openapi_extra=json_body(TextToVideoRequest),
    )
    router.add_api_route(
        "/api/video/image-to-video",
        film_image,
        methods=["POST"],
        operation_id="studio_image_to_video",
        summary="A video that goes on from a picture",
        response_class=Response,
        responses=file_response(MP4, TOLD),
        openapi_extra=picture_body(ImageToVideoRequest),
    )
    return router


async def film_text(request: Request) -> Response:
    body = await read_json(request, TextToVideoRequest)
    task_input = filled(TextToVideoInput, **_given(body))
    return _answer(await run(request, "text-to-video", task_input, body.model))


async def film_image(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_body(request, ImageToVideoRequest)
    (image,) = (await load_pictures(body, sources_of(services, request.state.caller)))["image"]
    task_input = filled(ImageToVideoInput, image=image, **_given(body))
    return _answer(await run(request, "image-to-video", task_input, body.model))


def _given(body: FilmedFields) -> dict[str, Any]:
    """The fields of the tasks that were given, but for the picture."""
    given = {
        "prompt": body.prompt,
        "negative_prompt": body.negative_prompt,
        "duration": body.duration,
        "fps": body.fps,
        "steps": body.num_inference_steps,
    }
    return {name: value for name, value in given.items() if value is not None}


def _answer(outcome: Outcome) -> Response:
    (video,) = outcome.artifacts
    told = {
        # Headers hold no other letters.
        "X-Video-Model": outcome.prepared.entry.name.encode("ascii", "replace").decode(),
        "X-Generation-Time": str(seconds_of(outcome)),
    }
    return file_answer(video.data or b"", MP4, "video.mp4", **told)
