"""The app factory: receives its services, joins routes, middleware and errors."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Security
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPBearer

from onebox import __version__
from onebox.api.error_shape import ErrorAnswer
from onebox.api.errors import install_error_handlers
from onebox.api.middleware import BodyLimit, RequestContext
from onebox.api.native import docs, files, infer, metrics, models, status, tasks
from onebox.api.openai import images
from onebox.api.routing import Route
from onebox.bootstrap import Services

DESCRIPTION = (
    "Self-hosted inference server. Send `Authorization: Bearer <key>` on all but the status routes."
)

# "default" also keeps FastAPI's own 422 off the page: errors leave in one shape only.
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorAnswer, "description": "Any error."}
}


def create_app(services: Services) -> FastAPI:
    """A new app over the services; starting it starts them."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await services.start()
        try:
            yield
        finally:
            await services.close()

    app = FastAPI(
        title="Onebox",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would repeat whatever host the client named.
        redirect_slashes=False,
    )
    app.state.services = services
    # A route added to the app itself is guarded like all others.
    app.router.route_class = Route
    # Only for the docs page's "Authorize" button: the route class does the checking.
    documented = [Security(HTTPBearer(auto_error=False))]
    guarded = (tasks.create_router(), infer.router, models.router, images.router, metrics.router)
    for router in guarded:
        app.include_router(router, dependencies=documented, responses=ERRORS)
    for router in (status.router, files.router):
        app.include_router(router, responses=ERRORS)
    if services.settings.docs:
        app.include_router(docs.router)
    install_error_handlers(app)
    _add_middleware(app, services)
    return app


def _add_middleware(app: FastAPI, services: Services) -> None:
    """The last one added is the outermost."""
    app.add_middleware(BodyLimit, max_bytes=services.settings.max_body_bytes)
    if services.settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(services.settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    app.add_middleware(RequestContext, metrics=services.metrics)
