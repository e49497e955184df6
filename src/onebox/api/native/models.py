"""The models on disk, in a shape that OpenAI clients and plain REST clients both understand."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.model_lookup import look_up
from onebox.api.routing import Route
from onebox.bootstrap import Services
from onebox.core.contracts import Entry
from onebox.registry.pickles import UNCONVERTED
from onebox.services.models import loaded_bytes

router = APIRouter(route_class=Route, tags=["models"])


@router.get("/v1/models", summary="All models")
async def list_models(services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    """Those that this key may use."""
    entries = services.catalogue.entries(caller.allowance.models)
    loaded = _loaded(services)
    return {
        "object": "list",
        "data": [_openai_model(entry, entry.name, loaded) for entry in entries],
        "models": [
            {
                "id": entry.sha256,
                "name": entry.name,
                "size": entry.size_bytes,
                "path": entry.path or None,
                "extension": entry.extension,
            }
            for entry in entries
        ],
        "count": len(entries),
    }


@router.get("/v1/models/{model:path}", summary="One model, by id, prefix, name or alias")
async def get_model(model: str, services: ServicesDep, caller: CallerDep) -> dict[str, Any]:
    entry = look_up(model, services, caller)
    return {
        **_openai_model(entry, model, _loaded(services)),
        "name": entry.name,
        "size": entry.size_bytes,
        "path": entry.path or None,
        "extension": entry.extension,
    }


def _openai_model(entry: Entry, model_id: str, loaded: dict[str, int]) -> dict[str, Any]:
    return {
        "id": model_id,
        "object": "model",
        "created": entry.created,
        "owned_by": entry.upstream or "onebox",
        "upstream": entry.upstream,
        "sha256": entry.sha256,
        "status": entry.status,
        "reason": entry.reason,
        "note": UNCONVERTED if entry.unconverted else None,
        "family": entry.family,
        "kind": entry.kind,
        # Of a picture model, and of what was made for one: "sdxl" …
        "base": entry.facts.get("base"),
        "tasks": list(entry.tasks),
        "aliases": list(entry.aliases),
        "licence": entry.overrides.get("licence"),
        "licence_note": entry.overrides.get("licence_note"),
        "bytes": entry.size_bytes,
        "loaded": entry.key in loaded,
        "loaded_bytes": loaded.get(entry.key),
    }


def _loaded(services: Services) -> dict[str, int]:
    """Bytes in memory by entry key, over all workers."""
    found: dict[str, int] = {}
    for client in services.pool.clients:
        for key, size_bytes in loaded_bytes(client).items():
            found[key] = found.get(key, 0) + size_bytes
    return found
