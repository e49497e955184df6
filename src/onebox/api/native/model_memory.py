"""`GET /v1/models/{model}/memory`: what a model takes on each device, before it is loaded.

Comes before the route of `/v1/models/{model}`, which would take it for a name; a model whose own
name ends in `/memory` is reached by its id.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field, ValidationError

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.errors import located
from onebox.api.model_lookup import look_up
from onebox.api.routing import Route
from onebox.core.contracts import Task
from onebox.core.errors import InvalidInput
from onebox.services.models import Need, Work, task_named
from onebox.services.request import refuse_client_files
from onebox.services.sizing import Weights, Working

router = APIRouter(route_class=Route, tags=["models"])


class Sizes(BaseModel):
    """Bytes. `expected_bytes` is what the server reckons with: the measured ones, if there are."""

    estimate_bytes: int
    measured_bytes: int | None
    expected_bytes: int


class Reserve(Sizes):
    size_class: str = Field(description="What is measured for one of a class counts for all.")


class DeviceMemory(Sizes):
    """What the weights take there, and what there is."""

    worker: int
    device: str
    name: str
    kind: str
    dtype: str
    loaded_bytes: int | None = Field(description="None when it is not loaded there.")
    pool: str
    budget_bytes: int = Field(description="All that the memory pool has for models.")
    share_bytes: int = Field(description="This worker's part of it.")
    reserve: Reserve | None = Field(description="Working memory of the task, if one was named.")
    fits: bool = Field(description="Whether it ever can, with everything else unloaded.")


class MemoryAnswer(BaseModel):
    id: str
    object: Literal["model.memory"] = "model.memory"
    name: str
    sha256: str | None
    task: str | None
    devices: list[DeviceMemory]


@router.get("/v1/models/{model:path}/memory", summary="What a model takes, and a task with it")
async def memory(
    model: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    task: Annotated[str | None, Query(description="Also the working memory of this task.")] = None,
    input: Annotated[str | None, Query(description="The task's input as a JSON object.")] = None,
) -> MemoryAnswer:
    """The fields of the task's input are further query parameters, or one JSON object, `input`."""
    entry = look_up(model, services, caller)
    work = None
    if task is not None:
        task_input = _task_input(task_named(task), request, input)
        work = services.models.work(entry, task, task_input)
    needs = await services.models.needs(entry, work)
    return MemoryAnswer(
        id=model,
        name=entry.name,
        sha256=entry.sha256,
        task=task,
        devices=[_device_memory(need, work) for need in needs],
    )


def _task_input(task: Task[Any], request: Request, text: str | None) -> BaseModel:
    """The input that the query describes. Raises InvalidInput, RequestValidationError."""
    query = request.query_params
    fields = task.Input.model_fields
    values: dict[str, Any] = {
        name: query.getlist(name) if len(query.getlist(name)) > 1 else query[name]
        for name in query
        if name != "task" and (name != "input" or name in fields)
    }
    if text is not None and "input" not in fields:
        values |= _json_object(text)
    for name in values:
        if name not in fields:
            raise InvalidInput(f"{name[:64]}: {task.name} has no such field", param=name[:64])
    try:
        task_input: BaseModel = task.Input.model_validate(values)
    except ValidationError as error:
        raise located(error, "query") from error
    refuse_client_files(task_input)
    return task_input


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput("input must be a JSON object", param="input")
    return value


def _device_memory(need: Need, work: Work | None) -> DeviceMemory:
    reserve = None
    if work is not None and need.reserve is not None:
        reserve = Reserve(size_class=work.size_class, **_sizes(need.reserve))
    return DeviceMemory(
        **_sizes(need.weights),
        worker=need.worker,
        device=need.device.id,
        name=need.device.name,
        kind=need.device.kind,
        dtype=need.device.dtype,
        loaded_bytes=need.loaded_bytes,
        pool=need.device.pool,
        budget_bytes=need.budget_bytes,
        share_bytes=need.share_bytes,
        reserve=reserve,
        fits=need.fits,
    )


def _sizes(sizes: Weights | Working) -> dict[str, Any]:
    return {
        "estimate_bytes": sizes.estimate_bytes,
        "measured_bytes": sizes.measured_bytes,
        "expected_bytes": sizes.expected_bytes,
    }
