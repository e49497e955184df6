"""Route classes.

A route is guarded by the class it is made with, before any of its body is read; and what a POST
does ends when its client leaves, whatever its function is.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from onebox.api.bodies import JSON, header_parameter
from onebox.api.body_size import QUICK_BYTES, refuse_crowded
from onebox.api.client_watch import ClientWatch
from onebox.api.deferring import Handler, deferring, look_for_wish, read_wish
from onebox.api.entering import enter
from onebox.api.error_shape import ErrorAnswer
from onebox.api.errors import OPENAI_INVALID_STATUS
from onebox.api.route_classes import route_class_of
from onebox.services.access import caller as callers

# What the API's pages call the way in; here, not as a dependency, which each request would pay for.
BEARER = "HTTPBearer"
# "default" also keeps FastAPI's own 422 off the page: errors leave in one shape only.
ERRORS: dict[int | str, dict[str, Any]] = {
    "default": {"model": ErrorAnswer, "description": "Any error."}
}
LATER: dict[str, Any] = {
    "responses": {
        "202": {
            "description": "The request as a job, for the header `Prefer: respond-async`, or "
            "`background=true` in the body where that has no other meaning; its result is what "
            "would have been answered.",
            # On the page by the routes of jobs.
            "content": {JSON: {"schema": {"$ref": "#/components/schemas/JobAnswer"}}},
        }
    },
    **header_parameter("Prefer", "`respond-async`: have it done later, as a job."),
}
# The only routes that need no token. `/files/{signed}` and `/media/{name}` carry their own: a
# signature.
PUBLIC_PATHS = frozenset(
    {
        "/",
        "/v1",
        "/health",
        "/v1/health",
        "/healthz",
        "/ready",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/docs/assets/{name}",
        "/files/{signed}",
        "/media/{name}",
    }
)


class Route(APIRoute):
    """Needs a bearer token with `scope`, unless its path is in `PUBLIC_PATHS`."""

    scope: ClassVar[callers.Scope] = "infer"
    invalid_status: ClassVar[int] = 422
    # Whether a client may have what its functions do done later.
    may_wait: ClassVar[bool] = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        options["responses"] = {**ERRORS, **(options.get("responses") or {})}
        super().__init__(path, endpoint, **options)
        self.limited_as = route_class_of(self.path_format, self.methods or ())
        if self._is_plain():
            handler = self.get_route_handler()
            self.app = deferring(handler) if self._is_deferrable() else _plain_app(handler)
        if self.path_format not in PUBLIC_PATHS:
            self.openapi_extra = {**(self.openapi_extra or {}), "security": [{BEARER: []}]}
        if self._is_deferrable():
            self.openapi_extra = {**(self.openapi_extra or {}), **LATER}

    def get_route_handler(self) -> Handler:
        handler = self.endpoint if self._is_plain() else super().get_route_handler()
        if "POST" in (self.methods or ()):
            # A function that is given neither can read none.
            reads_body = self.body_field or self.dependant.request_param_name
            handler = _watched(handler, reads_body=bool(reads_body))
        needs = None if self.path_format in PUBLIC_PATHS else self.scope
        is_deferrable = self._is_deferrable()

        async def guarded(request: Request) -> Response:
            request.scope["on_route"](self.path_format)
            request, authorization = await self.credentials(request)
            await enter(request, authorization, needs, self.limited_as)
            if is_deferrable:
                look_for_wish(request)
            return await handler(request)

        return guarded

    async def credentials(self, request: Request) -> tuple[Request, str | None]:
        """What the request says of its caller as an `Authorization` header, and the request, for a
        route that has to read on to find it.
        """
        return request, request.headers.get("authorization")

    def _is_deferrable(self) -> bool:
        return self.may_wait and "POST" in (self.methods or ()) and self._is_plain()

    def _is_plain(self) -> bool:
        """Whether the function takes the request, gives a response, and wants nothing else.

        Looking for what else it might want costs FastAPI more time than all the rest of a route.
        """
        wanted = self.dependant
        others = (
            wanted.path_params,
            wanted.query_params,
            wanted.header_params,
            wanted.cookie_params,
            wanted.body_params,
            wanted.dependencies,
        )
        return (
            wanted.request_param_name == "request"
            and not any(others)
            and inspect.iscoroutinefunction(self.endpoint)
            and self.response_class is Response
        )


class ManageRoute(Route):
    """For what changes what the server holds in memory."""

    scope = "manage"


class AdminRoute(Route):
    """For what cannot be undone."""

    scope = "admin"


class OpenAIRoute(Route):
    """A route that answers as OpenAI's do: 400 where native ones say 422."""

    invalid_status = OPENAI_INVALID_STATUS
    may_wait = True


class StoreRoute(OpenAIRoute):
    """One that runs no model: what it stores is done later in any case."""

    may_wait = False


class _Request(Request):
    """Its body, read whole, holds only so many values."""

    _checked: bytes | None = None

    async def body(self) -> bytes:
        if self._checked is None:
            body = await super().body()
            if len(body) > QUICK_BYTES:
                await asyncio.to_thread(refuse_crowded, body)
            self._checked = await read_wish(self, body)
        return self._checked


def _watched(handler: Handler, *, reads_body: bool) -> Handler:
    """The handler, which raises Cancelled when the client leaves before its answer is ready."""

    async def watched(request: Request) -> Response:
        with ClientWatch(request.receive) as watch:
            await (watch.open_body() if reads_body else watch.skip_body())
            return await handler(_Request(request.scope, watch.receive))

    return watched


def _plain_app(handler: Handler) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        response = await handler(Request(scope, receive, send))
        await response(scope, receive, send)

    return app
