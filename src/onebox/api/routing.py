"""Route classes.

A route is guarded by the class it is made with, before any of its body is read.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from fastapi import Request, Response
from fastapi.routing import APIRoute

from onebox.api.errors import OPENAI_INVALID_STATUS
from onebox.services.authenticator import Caller, Scope

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

# The only routes that need no token. `/files/{signed}` carries its own: the signature.
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
    }
)


class Route(APIRoute):
    """Needs a bearer token with `scope`, unless its path is in `PUBLIC_PATHS`."""

    scope: ClassVar[Scope] = "infer"
    invalid_status: ClassVar[int] = 422

    def get_route_handler(self) -> Handler:
        handler = super().get_route_handler()
        is_public = self.path_format in PUBLIC_PATHS

        async def guarded(request: Request) -> Response:
            request.scope["on_route"](self.path_format)
            if not is_public:
                authenticator = request.app.state.services.authenticator
                caller: Caller = authenticator.authenticate(request.headers.get("authorization"))
                caller.require(self.scope)
                request.state.caller = caller
                request.scope["caller"] = caller.id
            return await handler(request)

        return guarded


class OpenAIRoute(Route):
    """A route that answers as OpenAI's do: 400 where native ones say 422."""

    invalid_status = OPENAI_INVALID_STATUS
