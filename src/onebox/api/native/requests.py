"""Requests that are in the server now."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.routing import Route

router = APIRouter(route_class=Route, tags=["requests"])


class CancelAnswer(BaseModel):
    id: str
    status: Literal["cancelling"] = "cancelling"
    requests: int = Field(description="How many there were; callers choose their ids apart.")


@router.post("/v1/requests/{request_id:path}/cancel", summary="Cancel a request by its id")
async def cancel_request(request_id: str, services: ServicesDep, caller: CallerDep) -> CancelAnswer:
    """The id is the `X-Request-ID` that the request was sent with, or the `id` of `/v1/infer`.

    The request itself answers 499. Requests of other callers need the scope `manage`.
    """
    found = services.running.find(request_id, caller.id, any_caller=caller.may("manage"))
    for running in found:
        running.cancel()
    return CancelAnswer(id=request_id, requests=len(found))
