"""What this is, whether it lives, whether it can work."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from onebox import __version__
from onebox.api.deps import ServicesDep
from onebox.api.routing import Route
from onebox.core.errors import ShuttingDown, WorkerUnready

router = APIRouter(route_class=Route, tags=["status"])

LINKS = {
    "docs": "/docs",
    "openapi": "/openapi.json",
    "health": "/health",
    "ready": "/ready",
    "models": "/v1/models",
    "status": "/v1/status",
    "infer": "/v1/infer",
    "images": "/v1/images/generations",
    "metrics": "/metrics",
}


@router.get("/", summary="What this is, with links")
@router.get("/v1", summary="What this is, with links", operation_id="about_v1")
async def about() -> dict[str, Any]:
    return {
        "name": "onebox",
        "version": __version__,
        "description": "Self-hosted inference server for local models",
        "links": LINKS,
    }


@router.get("/health", summary="Whether the server is alive")
@router.get("/v1/health", summary="Whether the server is alive", operation_id="health_v1")
@router.get("/healthz", summary="Whether the server is alive", operation_id="healthz")
async def health() -> dict[str, str]:
    return {"status": "ok", "version": __version__}


@router.get(
    "/ready",
    summary="Whether models can run; 503 until a worker is up and what is preloaded is in, "
    "and while the server drains",
)
async def ready(services: ServicesDep) -> dict[str, Any]:
    if services.drain.begun:
        raise ShuttingDown(
            "the server is draining: it finishes what runs, and ends",
            details={"reasons": ["draining"]},
            retry_after_s=10,
        )
    if not services.pool.ready():
        raise _unready("no worker is up", services.pool.reasons())
    if not services.preloader.ready():
        raise _unready("models are still being loaded", services.preloader.reasons())
    return {
        "status": "ready",
        "devices": [
            {"id": device.id, "name": device.name, "problems": list(device.problems)}
            for device in services.pool.devices()
        ],
        "reasons": services.pool.reasons(),
    }


def _unready(message: str, reasons: list[str]) -> WorkerUnready:
    return WorkerUnready(message, details={"reasons": reasons}, retry_after_s=5)
