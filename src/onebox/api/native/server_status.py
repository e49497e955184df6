"""`GET /v1/status`: devices, what is in their memory, what waits and what runs."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from onebox import __version__
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.routing import Route
from onebox.bootstrap import Services
from onebox.runtime.wire import BundleStats, WorkerStats
from onebox.runtime.worker_client import WorkerClient
from onebox.services.access.caller import Caller

router = APIRouter(route_class=Route, tags=["status"])


class ServerState(BaseModel):
    version: str
    uptime_s: float


class BundleState(BaseModel):
    """One set of weights in a worker; `reserved_bytes` is working memory of those who use it."""

    name: str
    family: str
    state: str
    size_bytes: int
    reserved_bytes: int
    leases: int
    pinned: bool
    idle: bool


class PoolState(BaseModel):
    """A memory pool; several devices may share one."""

    name: str
    budget_bytes: int
    used_bytes: int


class DeviceState(BaseModel):
    """One worker and its device. What only a worker that is up can tell is None without it.

    `bundles` are those that the caller may use; the sums are of all.
    """

    worker: int
    device: str | None
    name: str | None
    kind: str | None
    dtype: str | None
    state: str
    reason: str
    restarts: int
    pool: PoolState | None
    share_bytes: int | None = Field(description="This worker's part of the pool.")
    device_used_bytes: int | None
    device_free_bytes: int | None
    resident_bytes: int | None
    returned_bytes: int | None = Field(description="What unloads gave back so far, as measured.")
    leaked_bytes: int | None = Field(description="What they did not, as last measured.")
    wants_restart: str | None
    bundles: list[BundleState]


class WorkerQueue(BaseModel):
    worker: int
    waiting: int


class ModelQueue(BaseModel):
    model: str
    waiting: int


class QueueState(BaseModel):
    waiting: int
    workers: list[WorkerQueue]
    models: list[ModelQueue]


class RequestsState(BaseModel):
    """The caller's own requests; with the scope `manage` everybody's."""

    count: int = Field(description="All that are in the server, other callers' too.")
    requests: list[dict[str, Any]]


class StatusAnswer(BaseModel):
    server: ServerState
    devices: list[DeviceState]
    queue: QueueState
    running: RequestsState


@router.get("/v1/status", summary="Devices, models in memory, queue and running requests")
async def status(request: Request, services: ServicesDep, caller: CallerDep) -> StatusAnswer:
    requests = services.running.public()
    if not caller.may("manage"):
        requests = [item for item in requests if item["caller"] == caller.id]
    shown = _shown(services, caller)
    uptime_s = time.monotonic() - request.app.state.started
    return StatusAnswer(
        server=ServerState(version=__version__, uptime_s=round(uptime_s, 1)),
        devices=[_device(client, services, shown) for client in services.pool.clients],
        queue=_queue(services, shown),
        running=RequestsState(count=len(services.running), requests=requests),
    )


def _shown(services: Services, caller: Caller) -> Collection[str] | None:
    """Keys of the models that the caller may know of; None: all."""
    allowed = caller.allowance.models
    if allowed is None:
        return None
    return {entry.key for entry in services.catalogue.entries(allowed)}


def _device(client: WorkerClient, services: Services, shown: Collection[str] | None) -> DeviceState:
    device = client.hello.device if client.hello else None
    stats = client.last_stats
    is_up = client.state == "ready"
    return DeviceState(
        worker=client.index,
        device=device.id if device else None,
        name=device.name if device else None,
        kind=device.kind if device else None,
        dtype=device.dtype if device else None,
        state=client.state,
        reason=client.reason,
        restarts=max(client.lives - 1, 0),
        pool=_pool(client, services) if is_up else None,
        share_bytes=services.pools.share_of(client) if is_up else None,
        device_used_bytes=stats.device_used_bytes if stats else None,
        device_free_bytes=stats.device_free_bytes if stats else None,
        resident_bytes=stats.resident_bytes if stats else None,
        returned_bytes=stats.returned_bytes if stats else None,
        leaked_bytes=stats.leaked_bytes if stats else None,
        wants_restart=stats.wants_restart if stats else None,
        bundles=[
            _bundle(bundle)
            for bundle in (stats.bundles if stats else ())
            if shown is None or bundle.key in shown
        ],
    )


def _pool(client: WorkerClient, services: Services) -> PoolState:
    assert client.hello is not None
    name = client.hello.device.pool
    used = sum(
        _used_bytes(other.last_stats)
        for other in services.pool.clients
        if other.hello is not None and other.hello.device.pool == name
    )
    return PoolState(name=name, budget_bytes=services.pools.limit_bytes(name), used_bytes=used)


def _used_bytes(stats: WorkerStats | None) -> int:
    return sum(b.size_bytes + b.reserved_bytes for b in stats.bundles) if stats else 0


def _bundle(bundle: BundleStats) -> BundleState:
    return BundleState(
        name=bundle.name,
        family=bundle.family,
        state=bundle.state,
        size_bytes=bundle.size_bytes,
        reserved_bytes=bundle.reserved_bytes,
        leases=bundle.leases,
        pinned=bundle.pinned,
        idle=bundle.state == "ready" and bundle.leases == 0,
    )


def _queue(services: Services, shown: Collection[str] | None) -> QueueState:
    admission = services.admission
    models = {running.key: running.model for running in services.running}
    return QueueState(
        waiting=admission.waiting(),
        workers=[
            WorkerQueue(worker=client.index, waiting=admission.waiting(client.index))
            for client in services.pool.clients
        ],
        models=[
            ModelQueue(model=name, waiting=waiting)
            for key, name in models.items()
            if (shown is None or key in shown) and (waiting := admission.waiting(key=key))
        ],
    )
