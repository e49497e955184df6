"""The route class of WebSockets.

A route is guarded by the class it is made with, before the handshake is answered: by its token,
and by the page that opened it where a browser did.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection
from typing import ClassVar

from fastapi import WebSocket
from starlette.routing import WebSocketRoute, websocket_session

from onebox.api.entering import enter
from onebox.api.errors import OPENAI_INVALID_STATUS
from onebox.core.errors import Forbidden
from onebox.services.access import caller as callers

# What a browser, which cannot send the header, offers: `["onebox", "bearer.<token>"]`.
SUBPROTOCOL = "onebox"
TOKEN_PREFIX = "bearer."
PAGE = re.compile(r"^(https?)://([^/?#@\s]+)$", re.IGNORECASE)
DEFAULT_PORTS = {"http": ":80", "https": ":443"}

Endpoint = Callable[[WebSocket], Awaitable[None]]


class LiveRoute(WebSocketRoute):
    """Needs a bearer token with `scope`. None of them is public."""

    scope: ClassVar[callers.Scope] = "infer"
    invalid_status: ClassVar[int] = OPENAI_INVALID_STATUS

    def __init__(self, path: str, endpoint: Endpoint) -> None:
        super().__init__(path, endpoint)
        self.app = websocket_session(self._guarded)

    async def _guarded(self, websocket: WebSocket) -> None:
        scope = websocket.scope
        # For the errors: which status a wrong value has.
        scope["route"] = self
        scope["on_route"](self.path_format)
        await enter(websocket, _authorization(websocket), self.scope, "audio")
        refuse_foreign_page(websocket, websocket.app.state.services.settings.cors_origins)
        await self.endpoint(websocket)


def accepted_subprotocol(websocket: WebSocket) -> str | None:
    """What the answer names of what the client offered. Never the token."""
    return SUBPROTOCOL if SUBPROTOCOL in websocket.scope["subprotocols"] else None


def refuse_foreign_page(websocket: WebSocket, origins: Collection[str]) -> None:
    """A browser names the page that opens a socket: it must be of this server, or be let in.

    Raises Forbidden.
    """
    origin = websocket.headers.get("origin")
    if origin is None or "*" in origins or origin in origins:
        return
    match = PAGE.match(origin)
    if match is not None:
        port = DEFAULT_PORTS[match[1].lower()]
        host = websocket.headers.get("host", "")
        if match[2].lower().removesuffix(port) == host.lower().removesuffix(port):
            return
    raise Forbidden("pages of this origin may not connect; CORS_ORIGINS names those that may")


def _authorization(websocket: WebSocket) -> str | None:
    header = websocket.headers.get("authorization")
    offered: list[str] = websocket.scope["subprotocols"]
    if header is not None or SUBPROTOCOL not in offered:
        return header
    tokens = [name for name in offered if name.startswith(TOKEN_PREFIX)]
    return f"Bearer {tokens[0].removeprefix(TOKEN_PREFIX)}" if len(tokens) == 1 else None
