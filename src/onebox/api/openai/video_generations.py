"""`POST /v1/videos/generations`: a short video as the answer to its request.

An adapter over the tasks `text-to-video` and `image-to-video`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import JSON
from onebox.api.openai.images_answer import AnswerForm, answer_form, answer_item
from onebox.api.openai.video_fields import asked_video, route_names, with_task_fields
from onebox.api.options import RequestOptions, options_of
from onebox.api.picture_bodies import picture_body, read_body
from onebox.api.routing import OpenAIRoute
from onebox.api.streaming import LargeResponse
from onebox.bootstrap import Services
from onebox.core.results import Artifact
from onebox.services.files import FileStore
from onebox.services.request import Outcome


class AnswerFields(RequestOptions):
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None, description="`b64_json` by default; `url`: a signed link."
    )


class VideoItem(BaseModel):
    """A file, with what its task told about it (seed, frames, fps, seconds)."""

    model_config = ConfigDict(extra="allow")

    b64_json: str | None = None
    url: str | None = None
    media_type: str
    size: str


class VideosResponse(BaseModel):
    created: int
    model: str
    data: list[VideoItem]
    thumbnail: VideoItem | None = None
    spritesheet: VideoItem | None = None


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    model = with_task_fields("VideoGenerationsRequest", AnswerFields)
    router.add_api_route(
        "/v1/videos/generations",
        _generation(model),
        methods=["POST"],
        operation_id="generate_video",
        summary="A short video, at once",
        response_class=Response,
        responses={200: {"description": "The video.", "model": VideosResponse}},
        openapi_extra=picture_body(model),
    )
    return router


def _generation(model: type[Any]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def generate(request: Request) -> Response:
        """It ends when its client leaves, and must fit the time limit of requests."""
        services: Services = request.app.state.services
        body = await read_body(request, model)
        with route_names(body):
            asked = await asked_video(body, services, request.state.caller)
            prepared = await services.inference.prepare(
                asked.task,
                asked.input,
                model=body.model,
                caller=request.state.caller,
                options=options_of(body, request),
            )
            outcome = await services.inference.run(prepared)
        form = answer_form(request, body.response_format)
        # Files are written, and megabytes turned into base64.
        told = await asyncio.to_thread(_body, outcome, form, services.files)
        return LargeResponse(told, media_type=JSON)

    return generate


def _body(outcome: Outcome, form: AnswerForm, files: FileStore) -> bytes:
    items = {
        artifact.meta["variant"]: _item(artifact, form, files) for artifact in outcome.artifacts
    }
    return msgspec.json.encode(
        {
            "created": int(time.time()),
            "model": outcome.prepared.entry.name,
            "data": [items.pop("video")],
            **items,
        }
    )


def _item(artifact: Artifact, form: AnswerForm, files: FileStore) -> dict[str, Any]:
    size = f"{artifact.meta['width']}x{artifact.meta['height']}"
    told = answer_item(artifact, form, files)
    return {**told, "media_type": artifact.media_type, "size": size}
