"""`DELETE /v1/models/{model}`: out of memory, and from the disk if that is asked for."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.model_lookup import look_up
from onebox.api.routing import AdminRoute

router = APIRouter(route_class=AdminRoute, tags=["models"])


class DeleteAnswer(BaseModel):
    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
    files_removed: list[str]


@router.delete("/v1/models/{model:path}", summary="Unload a model, or remove its files")
async def delete(
    model: str, services: ServicesDep, caller: CallerDep, files: bool = False
) -> DeleteAnswer:
    """`?files=true` removes it from the disk, wherever the model folders hold the same contents."""
    entry = look_up(model, services, caller)
    removed = await services.models.delete(entry, files=files)
    return DeleteAnswer(id=model, files_removed=removed)
