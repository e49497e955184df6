"""Loading and unloading of models by request, and looking for new ones."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.model_lookup import look_up
from onebox.api.options import MAX_TIMEOUT_S
from onebox.api.routing import ManageRoute
from onebox.api.sse import EVENT_STREAM, EventStream, event, wants_events
from onebox.bootstrap import Services
from onebox.core.contracts import Entry
from onebox.core.errors import InferenceFailed
from onebox.runtime.wire import Loading
from onebox.services.residency import Loaded

router = APIRouter(route_class=ManageRoute, tags=["models"])

# How much is converted; how far the load is; that it is done.
Progress = AsyncGenerator[float | Loading | Loaded, None]
EVENTS: dict[str, Any] = {"application/json": {}, EVENT_STREAM: {}}


class LoadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    timeout_s: float | None = Field(
        None, gt=0, le=MAX_TIMEOUT_S, allow_inf_nan=False, description="At most the server's."
    )


class LoadAnswer(BaseModel):
    id: str
    object: Literal["model"] = "model"
    status: Literal["loaded"] = "loaded"
    device: str
    loaded_bytes: int
    load_s: float = Field(description="0 when it was loaded already.")


class UnloadRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    force: bool = Field(False, description="End the requests that use it; needs the scope `admin`.")


class UnloadAnswer(BaseModel):
    id: str
    object: Literal["model"] = "model"
    status: Literal["unloaded"] = "unloaded"
    was_loaded: bool


class RescanAnswer(BaseModel):
    """A changed model counts as added and removed; what is still being written comes later."""

    models: int
    added: int
    removed: int


@router.post("/v1/models/rescan", summary="Look for new, changed and removed models now")
async def rescan(services: ServicesDep) -> RescanAnswer:
    found = await services.models.rescan()
    return RescanAnswer(models=found.models, added=found.added, removed=found.removed)


@router.post(
    "/v1/models/{model:path}/load",
    summary="Load a model into memory",
    response_model=LoadAnswer,
    responses={200: {"description": "JSON, or events with the progress.", "content": EVENTS}},
)
async def load(
    model: str,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    body: LoadRequest | None = None,
) -> Any:
    """`Accept: text/event-stream` gives `loading` events with a fraction, then `loaded` or
    `error`; before them `converting` events if the model is a pickle that nobody used yet.
    """
    look_up(model, services, caller)
    entry = await services.catalogue.listed(model)
    progress = _progress(services, entry, caller.id, body.timeout_s if body else None)
    if wants_events(request):
        return EventStream(_load_events(model, progress), request)
    async with contextlib.aclosing(progress):
        async for item in progress:
            if isinstance(item, Loaded):
                return _loaded(model, item)
    raise InferenceFailed("the worker gave no answer")


@router.post("/v1/models/{model:path}/unload", summary="Take a model out of memory")
async def unload(
    model: str,
    services: ServicesDep,
    caller: CallerDep,
    body: UnloadRequest | None = None,
    force: bool = False,
) -> UnloadAnswer:
    """409 when it is still in use after a while. `force`, in the body or the query, ends its
    requests instead.
    """
    force = force or (body is not None and body.force)
    if force:
        caller.require("admin")
    entry = look_up(model, services, caller)
    was_loaded = await services.residency.unload(entry, force=force)
    return UnloadAnswer(id=model, was_loaded=was_loaded)


async def _progress(
    services: Services, entry: Entry, caller: str, timeout_s: float | None
) -> Progress:
    async with contextlib.aclosing(services.conversion.steps(entry, timeout_s)) as steps:
        async for step in steps:
            if isinstance(step, Entry):
                entry = step
            else:
                yield step
    loading = services.residency.load(entry, caller=caller, timeout_s=timeout_s)
    async with contextlib.aclosing(loading):
        async for item in loading:
            yield item


async def _load_events(model: str, progress: Progress) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(progress):
        async for item in progress:
            if isinstance(item, Loaded):
                yield event("loaded", _loaded(model, item).model_dump())
            elif isinstance(item, float):
                yield event("converting", {"fraction": item})
            else:
                yield event("loading", {"fraction": item.fraction})


def _loaded(model: str, loaded: Loaded) -> LoadAnswer:
    return LoadAnswer(
        id=model,
        device=loaded.device_id,
        loaded_bytes=loaded.size_bytes,
        load_s=round(loaded.load_s, 3),
    )
