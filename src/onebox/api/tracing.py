"""A span for each HTTP request. Only there when traces are on."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onebox.api.middleware import HEADS, SWITCHED, UNMATCHED, method_of
from onebox.services.in_process import CALLER
from onebox.services.tracing.tracing import Tracing, answered

# What only asks whether the server lives, every few seconds.
PROBES = frozenset({"/health", "/ready", "/metrics"})
# Of a request, the trace that it is part of.
PROPAGATED = frozenset({"traceparent", "tracestate"})


class Traces:
    """Outermost. Says of a request its route, never its query: that may hold what opens a link."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        status = 0

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] in HEADS:
                status = message.get("status", SWITCHED)
            await send(message)

        method = method_of(scope)
        attributes = {"http.request.method": method, "url.scheme": scope["scheme"]}
        if scope.get("client"):
            attributes["client.address"] = scope["client"][0]
        with self._tracing.request(
            _propagated(scope), in_process=CALLER in scope, attributes=attributes
        ) as span:
            try:
                await self._app(scope, receive, send_and_note)
            finally:
                route = getattr(scope.get("route"), "path_format", UNMATCHED)
                answered(span, route, method, status)


def _propagated(scope: Scope) -> dict[str, str]:
    found = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
    return {name: value for name, value in found if name in PROPAGATED}
