"""Step 1 of the path: request id, timing, access log, body limit.

Plain ASGI, so that streams stay streams.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import dataclass
from urllib.parse import quote

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from onebox.api.entering import LIMIT_HEADERS
from onebox.api.error_shape import ERROR_CODE
from onebox.api.errors import internal_error
from onebox.api.route_classes import HEALTH
from onebox.services.fallbacks import taken_over_by
from onebox.services.in_process import CALLER
from onebox.services.metrics.http import HttpMetrics
from onebox.services.upstreams.chain import came_through

log = structlog.get_logger("onebox.access")

REQUEST_ID = re.compile(r"^[A-Za-z0-9._:-]{1,64}$")
UNMATCHED = "unmatched"
# Messages that begin an answer. That a WebSocket is accepted has a status too.
HEADS = frozenset({"http.response.start", "websocket.http.response.start", "websocket.accept"})
SWITCHED = 101


@dataclass(slots=True)
class _Exchange:
    """What is known about one request while it is served."""

    started: float
    route: str = UNMATCHED
    status: int = 0
    sent_bytes: int = 0


class RequestContext:
    """Outermost: gives each request its id, counts and logs it, and answers for bugs below.

    A WebSocket is one request, which ends when it is closed.
    """

    def __init__(self, app: ASGIApp, metrics: HttpMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(time.perf_counter())
        request_id = _request_id(scope)
        scope["request_id"] = request_id
        scope["on_route"] = lambda route: self._enter(exchange, route, method_of(scope))

        async def send_with_id(message: Message) -> None:
            if message["type"] in HEADS:
                exchange.status = message.get("status", SWITCHED)
                elapsed_ms = (time.perf_counter() - exchange.started) * 1000
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-processing-ms", f"{elapsed_ms:.1f}".encode()),
                    *scope.get(LIMIT_HEADERS, ()),
                    *_fallback(),
                ]
            elif message["type"] == "websocket.close":
                # One that was never accepted is refused.
                exchange.status = exchange.status or 403
            else:
                exchange.sent_bytes += len(message.get("body") or message.get("text") or b"")
            await send(message)

        # Not unbound: a request is a task, and its context ends with it.
        if CALLER not in scope or "request_id" not in structlog.contextvars.get_contextvars():
            # What the server sends to itself belongs to the request that it came of.
            structlog.contextvars.bind_contextvars(request_id=request_id)
        if (via := _header(scope, b"via")) is not None:
            came_through(via)
        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("unhandled_error")
            if exchange.status == 0:
                await internal_error(HTTPConnection(scope))(scope, receive, send_with_id)
        finally:
            self._leave(exchange, scope)

    def _enter(self, exchange: _Exchange, route: str, method: str) -> None:
        exchange.route = route
        self._metrics.entered(route, method)

    def _leave(self, exchange: _Exchange, scope: Scope) -> None:
        elapsed_s = time.perf_counter() - exchange.started
        method = method_of(scope) if exchange.route != UNMATCHED else "any"
        if exchange.route != UNMATCHED:
            self._metrics.left(exchange.route, method)
        # No status: the client left before there was one.
        status = str(exchange.status or 499)
        self._metrics.answered(exchange.route, method, status, elapsed_s)
        client = scope.get("client")
        failed = {"code": scope[ERROR_CODE]} if ERROR_CODE in scope else {}
        # A probe comes every few seconds for ever, and is counted anyway.
        is_dull = exchange.route in HEALTH and exchange.status == 200
        tell = log.debug if is_dull else log.info
        tell(
            "request",
            method=method_of(scope),
            route=exchange.route,
            status=exchange.status or 499,
            ms=round(elapsed_s * 1000, 1),
            bytes=exchange.sent_bytes,
            client=client[0] if client else None,
            caller=scope.get("caller"),
            **failed,
        )


class BodyLimit:
    """Refuses bodies over the limit: at once by their declared length, else as soon as they exceed
    it.

    Counted when the body is read, so a caller without a token is told that first.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        received = 0

        async def counted() -> Message:
            nonlocal received
            if declared.isdigit() and int(declared) > self._max_bytes:
                raise self._refusal()
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._refusal()
            return message

        await self._app(scope, counted, send)

    def _refusal(self) -> HTTPException:
        return HTTPException(
            413,
            f"the body is larger than {self._max_bytes} bytes (ONEBOX_MAX_BODY_BYTES)",
            {"Connection": "close"},
        )


def method_of(scope: Scope) -> str:
    if scope["type"] != "http":
        return "WEBSOCKET"
    # What the server sends to itself is told apart: nobody waits for it.
    return "JOB" if CALLER in scope else scope["method"]


def _fallback() -> list[tuple[bytes, bytes]]:
    """Says that another model answered than the one that was asked."""
    model = taken_over_by()
    return [] if model is None else [(b"x-onebox-fallback", quote(model, safe="/:@ ").encode())]


def _request_id(scope: Scope) -> str:
    """The client's own id where it is a sane one, else a new one."""
    wanted = _header(scope, b"x-request-id")
    return wanted if wanted is not None and REQUEST_ID.match(wanted) else secrets.token_hex(8)


def _header(scope: Scope, wanted: bytes) -> str | None:
    """The first of that name."""
    for name, value in scope["headers"]:
        if name == wanted:
            found: str = value.decode("latin-1")
            return found
    return None
