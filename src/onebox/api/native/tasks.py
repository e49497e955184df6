"""`POST /v1/tasks/{task}`: one typed route for each task in the table, made from the table."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field, ValidationError, create_model
from starlette.datastructures import UploadFile

from onebox.api.deps import unless_disconnected
from onebox.api.errors import app_error_body
from onebox.api.routing import Route
from onebox.bootstrap import Services
from onebox.core.contracts import Task
from onebox.core.errors import AppError, InvalidInput
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact
from onebox.runtime.wire import Delta, Loading, Progress
from onebox.services.inference import Outcome, Prepared, refuse_client_files

EVENT_STREAM = "text/event-stream"
JSON = "application/json"
MULTIPART = "multipart/form-data"


def create_router() -> APIRouter:
    """A route for every task. Call after the plugin tables are frozen."""
    router = APIRouter(route_class=Route, tags=["tasks"])
    for name, task in TASKS.items():
        router.add_api_route(
            f"/v1/tasks/{name}",
            _endpoint(task),
            methods=["POST"],
            operation_id=f"task_{name}",
            summary=task.summary,
            description=type(task).__doc__ or task.summary,
            response_class=Response,
            responses=_responses(),
            openapi_extra=_request_body(_request_model(task)),
        )
    return router


def _endpoint(task: Task[Any]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    model = _request_model(task)

    async def run_task(request: Request) -> Response:
        services: Services = request.app.state.services
        body = await _read_body(request, model)
        refuse_client_files(body)
        task_input = task.Input.model_construct(
            **{name: getattr(body, name) for name in task.Input.model_fields}
        )
        prepared = await services.inference.prepare(
            task.name,
            task_input,
            model=getattr(body, "model", None),
            caller=request.state.caller.id,
        )
        accept = request.headers.get("accept", "")
        if EVENT_STREAM in accept:
            return StreamingResponse(_events(services, prepared, request), media_type=EVENT_STREAM)
        outcome = await unless_disconnected(request, services.inference.run(prepared))
        return _answer(outcome, accept)

    return run_task


def _request_model(task: Task[Any]) -> type[BaseModel]:
    """The task's input and the model's name; a field that neither knows is refused."""
    return create_model(
        f"{task.Input.__name__}Request",
        __base__=task.Input,
        __cls_kwargs__={"extra": "forbid"},
        model=(
            str | None,
            Field(None, max_length=512, description="SHA-256, prefix of it, name or alias."),
        ),
    )


async def _read_body(request: Request, model: type[BaseModel]) -> BaseModel:
    """JSON, or multipart with one part a field. Raises RequestValidationError as FastAPI does."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == MULTIPART:
        values = await _read_form(request)
    else:
        values = _parse_json(await request.body())
    try:
        return model.model_validate(values)
    except ValidationError as error:
        located = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(located) from error


def _parse_json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        problem = {"type": "json_invalid", "loc": ("body",), "msg": "invalid JSON", "input": None}
        raise RequestValidationError([problem]) from error


async def _read_form(request: Request) -> dict[str, Any]:
    values: dict[str, Any] = {}
    async with request.form() as form:
        for name, value in form.multi_items():
            if name in values:
                raise InvalidInput(f"{name} was sent twice", param=name)
            if isinstance(value, UploadFile):
                media_type = value.content_type or "application/octet-stream"
                values[name] = MediaRef(media_type=media_type, data=await value.read())
            else:
                values[name] = value
    return values


def _answer(outcome: Outcome, accept: str) -> Response:
    """The first artifact's bytes where the client accepts its type and not JSON, else JSON with
    all.
    """
    if outcome.artifacts and JSON not in accept:
        first = outcome.artifacts[0]
        kind = first.media_type.split("/")[0]
        if any(
            wanted in accept
            for wanted in (first.media_type, f"{kind}/*", "application/octet-stream")
        ):
            headers = {
                f"x-onebox-{name.replace('_', '-')}": str(value)
                for name, value in first.meta.items()
            }
            return Response(first.data, media_type=first.media_type, headers=headers)
    return JSONResponse(_result(outcome))


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "task": outcome.prepared.task.name,
        "model": outcome.prepared.entry.name,
        "model_sha256": outcome.prepared.entry.sha256,
        "outputs": [_output(artifact) for artifact in outcome.artifacts],
        "timing": msgspec.to_builtins(outcome.timing),
    }


def _output(artifact: Artifact) -> dict[str, Any]:
    data = artifact.data or b""
    if artifact.media_type == JSON:
        content: dict[str, Any] = {"json": json.loads(data)}
    else:
        content = {"b64_json": base64.b64encode(data).decode()}
    return {"media_type": artifact.media_type, **content, **artifact.meta}


async def _events(services: Services, prepared: Prepared, request: Request) -> AsyncIterator[str]:
    """Progress as it comes, then `result` or `error`.

    The client's leaving closes this and cancels.
    """
    try:
        async with contextlib.aclosing(services.inference.stream(prepared)) as events:
            async for event in events:
                match event:
                    case Outcome():
                        yield _sse("result", _result(event))
                    case Loading():
                        yield _sse("loading", {"fraction": event.fraction})
                    case Progress():
                        yield _sse("progress", {"step": event.step, "steps": event.steps})
                    case Delta():
                        yield _sse("delta", event.data)
    except AppError as error:
        yield _sse("error", app_error_body(error, request))


def _sse(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


def _request_body(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    return {
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": schema}, MULTIPART: {"schema": schema}},
        }
    }


def _responses() -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "description": "By the Accept header: JSON, the bytes, or server-sent events.",
            "content": {JSON: {}, EVENT_STREAM: {}, "application/octet-stream": {}},
        }
    }
