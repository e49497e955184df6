"""`/v1/videos`: OpenAI's route for videos, which are made while nobody waits.

An adapter over the tasks `text-to-video` and `image-to-video`, as jobs.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import JSON
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.job_options import IDEMPOTENCY, JobOptions, submission_of
from onebox.api.native.job_result import file_answer, require_result
from onebox.api.openai.video_answer import (
    Variant,
    VideoAnswer,
    index_of,
    poll_after_ms,
    public_video,
    video_answer,
)
from onebox.api.openai.video_fields import AskedVideo, asked_video, route_names, with_task_fields
from onebox.api.options import options_of
from onebox.api.pages import Cursor, Limit, listing
from onebox.api.picture_bodies import picture_body, read_body
from onebox.api.ranged_file import told_file
from onebox.api.routing import StoreRoute
from onebox.bootstrap import Services
from onebox.services.access.caller import Caller
from onebox.services.database import Order
from onebox.services.jobs.job import Job, JobNotFound
from onebox.services.jobs.query import JobQuery
from onebox.tasks.picture_input import MAX_PROMPT

PATH = "/v1/videos"
ONE = f"{PATH}/{{video_id}}"
POLL_HEADER = "openai-poll-after-ms"
STILLS = ("thumbnail", "spritesheet")


class VideoOptions(JobOptions):
    background: bool | None = Field(
        default=None, description="Accepted, without effect: a video is a job in any case."
    )


class RemixRequest(VideoOptions):
    """What is other than in the video that it is made from."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=MAX_PROMPT)


class VideoPage(BaseModel):
    object: Literal["list"]
    data: list[VideoAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedVideo(BaseModel):
    id: str
    object: Literal["video.deleted"] = "video.deleted"
    deleted: Literal[True] = True


def create_router() -> APIRouter:
    router = APIRouter(route_class=StoreRoute, tags=["openai"])
    model = with_task_fields("VideosRequest", VideoOptions)
    told: dict[int | str, dict[str, Any]] = {
        200: {"description": "The video, before it is made.", "model": VideoAnswer}
    }
    router.add_api_route(
        PATH,
        _creation(model),
        methods=["POST"],
        operation_id="create_video",
        summary="Have a video made",
        response_class=Response,
        responses=told,
        openapi_extra={**picture_body(model), **IDEMPOTENCY},
    )
    router.add_api_route(
        f"{ONE}/remix",
        remix_video,
        methods=["POST"],
        summary="Have a video made again, with another prompt",
        response_class=Response,
        responses=told,
        openapi_extra={**picture_body(RemixRequest), **IDEMPOTENCY},
    )
    router.add_api_route(
        PATH,
        list_videos,
        methods=["GET"],
        summary="Videos, the newest first",
        response_class=Response,
        responses={200: {"model": VideoPage}},
    )
    router.add_api_route(
        ONE,
        get_video,
        methods=["GET"],
        summary="A video, and how it gets on",
        response_class=Response,
        responses={200: {"model": VideoAnswer}},
    )
    router.add_api_route(
        f"{ONE}/content",
        get_content,
        methods=["GET"],
        summary="A video's file, or a picture of it",
        response_class=Response,
        **told_file("The video, or the picture that `variant` names."),
    )
    router.add_api_route(
        ONE,
        delete_video,
        methods=["DELETE"],
        summary="Delete a video; one that is being made is stopped",
    )
    return router


def _creation(model: type[Any]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def create_video(request: Request) -> Response:
        services: Services = request.app.state.services
        body = await read_body(request, model)
        with route_names(body):
            asked = await asked_video(body, services, request.state.caller)
            # Whether they are wanted is only known later.
            stills = {name: True for name in STILLS if name not in body.model_fields_set}
            drawn = asked.input.model_copy(update=stills)
            asked = AskedVideo(asked.task, drawn)
            return await _submitted(request, body, asked, body.model, None)

    return create_video


async def remix_video(
    video_id: str, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    """The seed, the size and all else stay as they were, and so does the picture it starts from."""
    body = await read_body(request, RemixRequest)
    source = await _video(services, video_id, caller)
    require_result(source, 0)
    drawn: Any = await services.jobs.input_of(source)
    asked = AskedVideo(source.task, drawn.model_copy(update={"prompt": body.prompt}))
    with route_names():
        return await _submitted(request, body, asked, source.model_sha256, source.id)


async def _submitted(
    request: Request, body: JobOptions, asked: AskedVideo, model: str | None, remixed: str | None
) -> Response:
    services: Services = request.app.state.services
    job = await services.jobs.submit_task(
        asked.task,
        asked.input,
        model=model,
        caller=request.state.caller,
        options=options_of(body, request),
        submission=await submission_of(
            body, request, surface="video", public=public_video(remixed)
        ),
    )
    return _told(services, job)


async def list_videos(
    services: ServicesDep,
    caller: CallerDep,
    order: Order = "desc",
    limit: Limit = 20,
    after: Cursor = None,
) -> Response:
    wanted = JobQuery(surface="video", after=after, limit=limit, order=order)
    jobs, has_more = await services.jobs.page(caller, wanted)
    told = [video_answer(job, services.jobs.live(job.id)) for job in jobs]
    page = listing(told, has_more=has_more)
    return Response(msgspec.json.encode(page), media_type=JSON)


async def get_video(video_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """`openai-poll-after-ms` tells when to ask again."""
    return _told(services, await _video(services, video_id, caller))


async def get_content(
    video_id: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    variant: Variant = "video",
) -> Response:
    """`Range` asks for a part of it."""
    job = await _video(services, video_id, caller)
    require_result(job, 0)
    index = index_of(job, variant)
    path = services.jobs.artifact_path(job, job.artifacts[index])
    return await file_answer(request, job, index, path)


async def delete_video(video_id: str, services: ServicesDep, caller: CallerDep) -> DeletedVideo:
    """The work has stopped when this answers."""
    await _video(services, video_id, caller)
    await services.jobs.delete(video_id, caller)
    return DeletedVideo(id=video_id)


async def _video(services: Services, video_id: str, caller: Caller) -> Job:
    """Raises JobNotFound, for other jobs as well."""
    job = await services.jobs.get(video_id, caller)
    if job.surface != "video":
        raise JobNotFound(f"there is no video {video_id}", param="video_id")
    return job


def _told(services: Services, job: Job) -> Response:
    live = services.jobs.live(job.id)
    headers = {} if job.has_ended else {POLL_HEADER: str(poll_after_ms(live))}
    return Response(msgspec.json.encode(video_answer(job, live)), 200, headers, JSON)
