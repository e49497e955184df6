"""`/v1/jobs`: any task as work that outlives its connection."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from onebox.api.bodies import JSON, header_parameter
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.entering import count_task
from onebox.api.job_options import IDEMPOTENCY, submission_of
from onebox.api.native.job_answer import PATH, JobAnswer, job_answer, job_response
from onebox.api.native.job_events import RESUME_HEADER, job_events
from onebox.api.native.job_request import JobRequests, job_body
from onebox.api.native.job_result import file_answer, require_result
from onebox.api.options import options_of
from onebox.api.pages import Cursor, Limit, listing
from onebox.api.ranged_file import told_file
from onebox.api.routing import Route
from onebox.api.sse import EVENT_STREAM, EventStream
from onebox.bootstrap import Services
from onebox.core.errors import ResultNotReady
from onebox.core.plugins import TASKS
from onebox.services.database import Order
from onebox.services.jobs.job import Job, State, Surface
from onebox.services.jobs.query import JobQuery

router = APIRouter(route_class=Route, tags=["jobs"])

ONE = f"{PATH}/{{job_id}}"
# More than any task makes.
MAX_INDEX = 9999

Index = Annotated[int, Field(ge=0, le=MAX_INDEX)]
Name = Annotated[str | None, Query(max_length=512)]


class JobPage(BaseModel):
    object: Literal["list"]
    data: list[JobAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class DeletedJob(BaseModel):
    id: str
    object: Literal["job.deleted"] = "job.deleted"
    deleted: Literal[True] = True


def create_router() -> APIRouter:
    """The one that takes jobs. Call after the plugin tables are frozen."""
    posts = APIRouter(route_class=Route, tags=["jobs"])
    posts.add_api_route(
        PATH,
        _submission(JobRequests(TASKS)),
        methods=["POST"],
        operation_id="submit_job",
        summary="Have a task done, whether the client stays or not",
        status_code=202,
        response_class=Response,
        responses={202: {"description": "The job, which is on the disk.", "model": JobAnswer}},
        openapi_extra={**job_body(), **IDEMPOTENCY},
    )
    return posts


def _submission(requests: JobRequests) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def submit(request: Request) -> Response:
        services: Services = request.app.state.services
        asked = await requests.read(request)
        await count_task(request, asked.task.name)
        job = await services.jobs.submit_task(
            asked.task.name,
            asked.input,
            model=asked.body.model,
            caller=request.state.caller,
            options=options_of(asked.body, request),
            submission=await submission_of(asked.body, request),
        )
        return job_response(services, job, status_code=202)

    return submit


@router.get(
    PATH,
    summary="Jobs, the newest first",
    response_class=Response,
    responses={200: {"model": JobPage}},
)
async def list_jobs(
    services: ServicesDep,
    caller: CallerDep,
    status: State | None = None,
    task: Name = None,
    model: Name = None,
    surface: Literal[Surface, "any"] = "job",
    group: Name = None,
    order: Order = "desc",
    limit: Limit = 20,
    after: Cursor = None,
    before: Cursor = None,
) -> Response:
    """Your own; with the scope `admin`, everybody's. `surface`: whether they came by this route,
    by `/v1/videos` or as lines of `/v1/batches`, whose id is their `group`.
    """
    wanted = JobQuery(
        surface=None if surface == "any" else surface,
        state=status,
        task=task,
        model=model,
        group=group,
        after=after,
        before=before,
        limit=limit,
        order=order,
    )
    jobs, has_more = await services.jobs.page(caller, wanted)
    page = listing([job_answer(job, services.jobs.live(job.id)) for job in jobs], has_more=has_more)
    return Response(msgspec.json.encode(page), media_type=JSON)


@router.get(
    ONE,
    summary="A job, and how it gets on",
    response_class=Response,
    responses={200: {"model": JobAnswer}},
)
async def get_job(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    return job_response(services, await services.jobs.get(job_id, caller))


@router.get(
    f"{ONE}/events",
    summary="A job's life as server-sent events",
    response_class=Response,
    responses={200: {"description": "Until it has ended.", "content": {EVENT_STREAM: {}}}},
    openapi_extra=header_parameter(RESUME_HEADER, "The id of the last event that was seen."),
)
async def follow_job(
    job_id: str, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    """`queued`, `started`, `retried`, `progress`, and one of `completed`, `failed` and `cancelled`.

    `Last-Event-ID` resumes after an event; the progress that was made meanwhile is told as one.
    """
    job = await services.jobs.get(job_id, caller)
    after = request.headers.get(RESUME_HEADER)
    return EventStream(job_events(services.jobs, job, caller, after), request)


@router.get(
    f"{ONE}/result",
    summary="What came of a job, as a file",
    response_class=Response,
    **told_file("The first, or another one, of the results."),
)
async def first_result(
    job_id: str, request: Request, services: ServicesDep, caller: CallerDep, index: Index = 0
) -> Response:
    """With its own type; `Range` asks for a part of it. `index`: which, where there are several."""
    return await result_answer(request, services, await services.jobs.get(job_id, caller), index)


@router.get(
    f"{ONE}/result/{{index}}",
    summary="One of several things that came of a job",
    response_class=Response,
    **told_file("The result of that number."),
)
async def one_result(
    job_id: str, index: Index, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    return await result_answer(request, services, await services.jobs.get(job_id, caller), index)


async def result_answer(request: Request, services: Services, job: Job, index: int) -> Response:
    """Raises ResultNotReady and FileNotFound."""
    require_result(job, index)
    path = services.jobs.artifact_path(job, job.artifacts[index])
    return await file_answer(request, job, index, path)


@router.get(
    f"{ONE}/preview",
    summary="What the result of a running job looks like so far",
    response_class=Response,
    responses={200: {"description": "The newest preview.", "content": {"image/*": {}}}},
)
async def preview(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Of pictures and videos that are drawn with `partial_images`."""
    job = await services.jobs.get(job_id, caller)
    live = services.jobs.live(job.id)
    if live is None or live.preview is None:
        raise ResultNotReady(
            f"the job is {job.state}, and there is no preview of it now",
            details={"status": job.state},
        )
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(live.preview.data, media_type=live.preview.media_type, headers=headers)


@router.post(
    f"{ONE}/cancel",
    summary="End a job",
    response_class=Response,
    responses={200: {"model": JobAnswer}},
)
async def cancel_job(job_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """Its work has stopped when this answers. One that has ended is answered as it is."""
    return job_response(services, await services.jobs.cancel(job_id, caller))


@router.delete(ONE, summary="Delete a job and its files; one that runs is ended first")
async def delete_job(job_id: str, services: ServicesDep, caller: CallerDep) -> DeletedJob:
    await services.jobs.delete(job_id, caller)
    return DeletedJob(id=job_id)
