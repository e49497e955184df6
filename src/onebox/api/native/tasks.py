"""`POST /v1/tasks/{task}`: one typed route for each task in the table, made from the table."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, create_model

from onebox.api.bodies import JSON, json_body
from onebox.api.forms import MULTIPART
from onebox.api.options import option_fields, options_of
from onebox.api.picture_bodies import read_body
from onebox.api.routing import Route
from onebox.api.sse import EVENT_STREAM, EventStream, event, wants_events
from onebox.api.streaming import LargeResponse
from onebox.bootstrap import Services
from onebox.core.contracts import Task
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact
from onebox.runtime.wire import Delta, Loading, Progress
from onebox.services.request import Outcome, Prepared, refuse_client_files

# From here on a result is made into an answer beside the event loop.
LARGE_BYTES = 1024 * 1024

T = TypeVar("T")


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
            openapi_extra=json_body(_request_model(task), MULTIPART),
        )
    return router


def _endpoint(task: Task[Any]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    model = _request_model(task)
    inputs, options = tuple(task.Input.model_fields), tuple(option_fields(task.Input))

    async def run_task(request: Request) -> Response:
        services: Services = request.app.state.services
        body = await read_body(request, model)
        refuse_client_files(body)
        prepared = await services.inference.prepare(
            task.name,
            task.Input.model_construct(**{name: getattr(body, name) for name in inputs}),
            model=getattr(body, "model", None),
            caller=request.state.caller,
            options=options_of(body, request, names=options),
        )
        if wants_events(request):
            return EventStream(_events(services, prepared), request)
        outcome = await services.inference.run(prepared)
        return await _off_loop(outcome, partial(_answer, accept=request.headers.get("accept", "")))

    return run_task


def _request_model(task: Task[Any]) -> type[BaseModel]:
    """The task's input, the model's name and the options; a field that none knows is refused."""
    model: type[BaseModel] = create_model(
        f"{task.Input.__name__}Request",
        __base__=task.Input,
        __cls_kwargs__={"extra": "forbid"},
        model=(
            str | None,
            Field(None, max_length=512, description="SHA-256, prefix of it, name or alias."),
        ),
        **option_fields(task.Input),  # type: ignore[call-overload]  # pydantic types no such dict
    )
    return model


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
            return LargeResponse(first.data, media_type=first.media_type, headers=headers)
    return LargeResponse(msgspec.json.encode(_result(outcome)), media_type=JSON)


async def _off_loop(outcome: Outcome, make: Callable[[Outcome], T]) -> T:
    """What `make` makes of it; on a thread where megabytes are turned into text."""
    if sum(len(artifact.data or b"") for artifact in outcome.artifacts) < LARGE_BYTES:
        return make(outcome)
    return await asyncio.to_thread(make, outcome)


def _result_event(outcome: Outcome) -> bytes:
    return event("result", _result(outcome))


def _result(outcome: Outcome) -> dict[str, Any]:
    return {
        "task": outcome.prepared.task.name,
        "model": outcome.prepared.entry.name,
        "model_sha256": outcome.prepared.entry.sha256,
        "outputs": [_output(artifact) for artifact in outcome.artifacts],
        "timing": outcome.timing,
    }


def _output(artifact: Artifact) -> dict[str, Any]:
    data = artifact.data or b""
    if artifact.media_type == JSON:
        content: dict[str, Any] = {"json": msgspec.Raw(data)}
    else:
        content = {"b64_json": base64.b64encode(data).decode()}
    return {"media_type": artifact.media_type, **content, **artifact.meta}


async def _events(services: Services, prepared: Prepared) -> AsyncGenerator[bytes, None]:
    """Progress as it comes, then `result`. Closing it cancels."""
    async with contextlib.aclosing(services.inference.stream(prepared)) as events:
        async for item in events:
            match item:
                case Outcome():
                    yield await _off_loop(item, _result_event)
                case Loading():
                    yield event("loading", {"fraction": item.fraction})
                case Progress():
                    yield event("progress", {"step": item.step, "steps": item.steps})
                case Delta():
                    yield event("delta", item.data)


def _responses() -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "description": "By the Accept header: JSON, the bytes, or server-sent events.",
            "content": {JSON: {}, EVENT_STREAM: {}, "application/octet-stream": {}},
        }
    }
