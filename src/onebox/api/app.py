"""The app factory: receives its services, joins routes, middleware and errors."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Collection
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from onebox import __version__
from onebox.api.errors import install_error_handlers
from onebox.api.middleware import BodyLimit, RequestContext
from onebox.api.native import (
    credit_control,
    credits,
    docs,
    files,
    generate,
    image_tasks,
    infer,
    job_webhooks,
    jobs,
    keys,
    metrics,
    model_control,
    model_memory,
    model_removal,
    models,
    requests,
    rerank,
    server_status,
    similarity,
    status,
    tasks,
    tokens,
    usage,
)
from onebox.api.openai import (
    batches,
    chat,
    completions,
    embeddings,
    image_edits,
    image_variations,
    images,
    live,
    responses,
    speech,
    transcriptions,
    video_generations,
    videos,
    voices,
)
from onebox.api.openai import files as uploaded_files
from onebox.api.openai.batches import error_answer
from onebox.api.routing import BEARER, Route
from onebox.bootstrap import Services
from onebox.services.access.limits import headers as limit_headers

DESCRIPTION = (
    "Self-hosted inference server. Send `Authorization: Bearer <key>` on all but the status routes."
)
# What pages of other origins may send, and what they may see of an answer.
READ_HEADERS = (
    "Authorization",
    "Content-Type",
    "X-Request-ID",
    "Idempotency-Key",
    "Last-Event-ID",
    "Prefer",
    "Range",
)
TOLD_HEADERS = (
    "X-Request-ID",
    "Retry-After",
    "Retry-After-Ms",
    "X-Should-Retry",
    "Location",
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Range",
    "ETag",
    "OpenAI-Poll-After-Ms",
    *limit_headers.NAMES,
)


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        page = super().openapi()
        # For the page's "Authorize" button; the route class does the checking.
        schemes = {BEARER: {"type": "http", "scheme": "bearer"}}
        page.setdefault("components", {})["securitySchemes"] = schemes
        return page


def create_app(services: Services) -> FastAPI:
    """A new app over the services; starting it starts them."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.start()
        try:
            yield
        finally:
            await services.close()

    app = _App(
        title=services.settings.service_name or "Onebox",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would repeat whatever host the client named.
        redirect_slashes=False,
        # Nothing of ours listens to it, and asking whether anybody does costs each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.services = services
    app.state.started = time.monotonic()
    # A route added to the app itself is guarded like all others.
    app.router.route_class = Route
    routers = [*_routers(), *_familiar_routers(services.settings.compat)]
    if services.settings.docs:
        routers.append(docs.router)
    # Not by `include_router`: it looks for the route of each request twice.
    for router in routers:
        app.router.routes.extend(router.routes)
    install_error_handlers(app)
    services.deferred.attach(app)
    services.batches.attach(services.jobs, services.deferred, error_answer)
    _add_middleware(app, services)
    return app


def _routers() -> tuple[APIRouter, ...]:
    """`models.router` is after those whose paths it would take for names of models."""
    return (
        tasks.create_router(),
        infer.router,
        generate.router,
        tokens.router,
        requests.router,
        keys.create_router(),
        jobs.create_router(),
        jobs.router,
        job_webhooks.router,
        usage.router,
        credits.router,
        credit_control.router,
        model_control.router,
        model_removal.router,
        model_memory.router,
        models.router,
        images.create_router(),
        image_edits.create_router(),
        image_variations.create_router(),
        image_tasks.create_router(),
        chat.create_router(),
        completions.create_router(),
        responses.create_router(),
        uploaded_files.create_router(),
        batches.create_router(),
        video_generations.create_router(),
        videos.create_router(),
        speech.create_router(),
        voices.router,
        embeddings.create_router(),
        rerank.create_router(),
        similarity.create_router(),
        transcriptions.create_router(),
        live.create_router(),
        server_status.router,
        metrics.router,
        status.router,
        files.router,
    )


def _familiar_routers(families: Collection[str]) -> list[APIRouter]:
    if not families:
        return []
    # Not for servers without any: it takes a fiftieth of a second of each start.
    from onebox.api.compat.families import create_routers

    return create_routers(families)


def _add_middleware(app: FastAPI, services: Services) -> None:
    """The last one added is the outermost."""
    app.add_middleware(BodyLimit, max_bytes=services.settings.max_body_bytes)
    if services.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(services.settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=list(READ_HEADERS),
            expose_headers=list(TOLD_HEADERS),
        )
    app.add_middleware(RequestContext, metrics=services.metrics.http)
    if services.tracing is not None:
        # Only then: OpenTelemetry's parts need not be installed.
        from onebox.api.tracing import Traces

        app.add_middleware(Traces, tracing=services.tracing)
    if services.settings.trusted_proxies:
        from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

        # Outermost, so that the log has the client's address too. Where nobody is trusted, nobody
        # is believed: uvicorn's own default would be everybody on this machine.
        trusted: Any = list(services.settings.trusted_proxies)
        app.add_middleware(ProxyHeadersMiddleware, trusted_hosts=trusted)
