"""What a Prometheus server reads."""

from __future__ import annotations

from fastapi import APIRouter, Response

from onebox.api.deps import ServicesDep
from onebox.api.routing import Route

router = APIRouter(route_class=Route, tags=["status"])


@router.get("/metrics", summary="Prometheus metrics", response_class=Response)
async def metrics(services: ServicesDep) -> Response:
    return Response(services.metrics.render(), media_type=services.metrics.content_type)
