"""`/v1/batches`: a file of requests, carried out when nobody waits, and answered with a file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import JSON, json_body, read_json
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.error_shape import error_body
from onebox.api.errors import OPENAI_INVALID_STATUS, status_of
from onebox.api.openai.files import ExpiresAfter
from onebox.api.pages import Cursor, Limit, listing
from onebox.api.routing import StoreRoute
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput, all_errors
from onebox.services.batches.asked import ENDPOINTS
from onebox.services.batches.batch import Batch, State

PATH = "/v1/batches"
TIMES = (
    "in_progress_at",
    "finalizing_at",
    "completed_at",
    "failed_at",
    "expired_at",
    "cancelling_at",
    "cancelled_at",
)

Key = Annotated[str, Field(min_length=1, max_length=64)]
Value = Annotated[str, Field(max_length=512)]


class BatchErrors(BaseModel):
    object: Literal["list"]
    data: list[dict[str, Any]] = Field(description="`code`, `message`, `param` and `line` of each.")


class RequestCounts(BaseModel):
    total: int
    completed: int
    failed: int


class BatchAnswer(BaseModel):
    """As OpenAI's clients know it. Times are seconds since 1970."""

    id: str
    object: Literal["batch"]
    endpoint: str
    errors: BatchErrors | None
    input_file_id: str
    completion_window: str
    status: State
    output_file_id: str | None = Field(description="What was answered.")
    error_file_id: str | None = Field(description="What went wrong.")
    created_at: int
    expires_at: int
    in_progress_at: int | None
    finalizing_at: int | None
    completed_at: int | None
    failed_at: int | None
    expired_at: int | None
    cancelling_at: int | None
    cancelled_at: int | None
    request_counts: RequestCounts
    metadata: dict[str, str] | None


class BatchPage(BaseModel):
    object: Literal["list"]
    data: list[BatchAnswer]
    first_id: str | None
    last_id: str | None
    has_more: bool


class BatchRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    input_file_id: str = Field(
        max_length=128, description="Of `/v1/files`, uploaded with the purpose `batch`."
    )
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type]  # a tuple is as good as its items
    completion_window: str = Field(
        max_length=8, description="`24h`, or another number of hours or days (`7d`)."
    )
    metadata: Annotated[dict[Key, Value], Field(max_length=16)] | None = None
    output_expires_after: ExpiresAfter | None = None


def create_router() -> APIRouter:
    router = APIRouter(route_class=StoreRoute, tags=["openai"])
    told: dict[int | str, dict[str, Any]] = {200: {"model": BatchAnswer}}
    router.add_api_route(
        PATH,
        create_batch,
        methods=["POST"],
        summary="Carry out the requests of a file",
        response_class=Response,
        responses=told,
        openapi_extra=json_body(BatchRequest),
    )
    router.add_api_route(
        PATH,
        list_batches,
        methods=["GET"],
        summary="The batches of this key",
        response_class=Response,
        responses={200: {"model": BatchPage}},
    )
    one = f"{PATH}/{{batch_id}}"
    router.add_api_route(
        one,
        get_batch,
        methods=["GET"],
        summary="How a batch gets on",
        response_class=Response,
        responses=told,
    )
    router.add_api_route(
        f"{one}/cancel",
        cancel_batch,
        methods=["POST"],
        summary="Stop a batch",
        response_class=Response,
        responses=told,
    )
    return router


async def create_batch(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, BatchRequest)
    expires = body.output_expires_after
    batch = await services.batches.create(
        caller=request.state.caller,
        endpoint=body.endpoint,
        input_file_id=body.input_file_id,
        completion_window=body.completion_window,
        metadata=body.metadata,
        output_lifetime_s=expires.seconds if expires else None,
    )
    return _answer(batch_answer(batch))


async def list_batches(
    services: ServicesDep, caller: CallerDep, limit: Limit = 20, after: Cursor = None
) -> Response:
    found, has_more = await services.batches.page(caller.id, after=after, limit=limit)
    return _answer(listing([batch_answer(batch) for batch in found], has_more=has_more))


async def get_batch(batch_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    return _answer(batch_answer(await services.batches.get(batch_id, caller)))


async def cancel_batch(batch_id: str, services: ServicesDep, caller: CallerDep) -> Response:
    """What was answered by then can still be had. One that has ended is answered as it is."""
    return _answer(batch_answer(await services.batches.cancel(batch_id, caller)))


def batch_answer(batch: Batch) -> dict[str, Any]:
    """See BatchAnswer."""
    times = {name: batch.times.get(name) for name in TIMES}
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": None if batch.errors is None else {"object": "list", "data": batch.errors},
        "input_file_id": batch.input_file_id,
        "completion_window": batch.completion_window,
        "status": batch.state,
        "output_file_id": batch.output_file_id,
        "error_file_id": batch.error_file_id,
        "created_at": int(batch.created_at),
        "expires_at": int(batch.expires_at),
        **{name: None if at is None else int(at) for name, at in times.items()},
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
        },
        "metadata": batch.metadata,
    }


def _answer(told: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(told), media_type=JSON)


def error_answer(told: dict[str, Any], request_id: str) -> tuple[int, dict[str, Any]]:
    """Status and body with which the error of a line would have been answered."""
    kind = all_errors().get(told["code"], InvalidInput)
    status = told["status"] or status_of(kind(""), OPENAI_INVALID_STATUS)
    body = error_body(
        told["message"],
        code=told["code"],
        status=status,
        request_id=request_id,
        param=told["param"],
    )
    return status, body
