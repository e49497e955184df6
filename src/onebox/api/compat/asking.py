"""What the familiar routes have in common: how a task is asked, and what is told of its answer."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from fastapi import Request, Response
from pydantic import BaseModel, Field

from onebox.api.bodies import JSON
from onebox.api.streaming import LargeResponse
from onebox.bootstrap import Services
from onebox.core.errors import ModelNotFound
from onebox.core.results import Artifact
from onebox.services.request import Options, Outcome, Prepared

SHOWN = 20
MODEL = Field(
    default=None,
    max_length=512,
    description="An installed one: SHA-256, prefix of it, name or alias; by default the task's.",
)


async def prepared(
    request: Request, task: str, task_input: BaseModel, model: str | None
) -> Prepared:
    """Raises what `Inference.prepare` does; a model that is not installed with those that are."""
    services: Services = request.app.state.services
    try:
        return await services.inference.prepare(
            task,
            task_input,
            model=model,
            caller=request.state.caller,
            options=Options(request.scope["request_id"]),
        )
    except ModelNotFound as error:
        # A key that may use some models only is told of none here.
        if request.state.caller.allowance.models is None:
            error.message += _installed(task, services)
        raise


async def run(request: Request, task: str, task_input: BaseModel, model: str | None) -> Outcome:
    """A request to a task, from its begin to its end."""
    services: Services = request.app.state.services
    return await services.inference.run(await prepared(request, task, task_input, model))


def seconds_of(outcome: Outcome) -> float:
    """What it took, without the wait."""
    timing = outcome.timing
    return round(timing.load_s + timing.run_s + timing.encode_s, 3)


def size_of(artifact: Artifact) -> dict[str, Any]:
    """Width and height in pixels."""
    return {name: artifact.meta[name] for name in ("width", "height")}


def json_answer(value: Any) -> Response:
    return Response(msgspec.json.encode(value), media_type=JSON)


async def large_json(value: dict[str, Any]) -> Response:
    """The same for megabytes; bytes are sent in base64."""
    return LargeResponse(await asyncio.to_thread(msgspec.json.encode, value), media_type=JSON)


def file_answer(data: bytes, media_type: str, name: str, **headers: str) -> Response:
    told = {"Content-Disposition": f'attachment; filename="{name}"', **headers}
    return LargeResponse(data, headers=told, media_type=media_type)


def file_response(media_type: str, description: str) -> dict[int | str, dict[str, Any]]:
    """What the API's pages say of a file as the answer."""
    schema = {"type": "string", "format": "binary"}
    return {200: {"description": description, "content": {media_type: {"schema": schema}}}}


def _installed(task: str, services: Services) -> str:
    entries = services.catalogue.entries()
    able = [each.name for each in entries if task in each.tasks and each.status != "broken"]
    if not able:
        return f"; no model here can do {task}: put one into the model folder"
    return f"; here {task} can be done by {', '.join(able[:SHOWN])}, or leave model out"
