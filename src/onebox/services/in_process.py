"""Requests that the server sends to itself: through the same routes, and over no connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

import msgspec

from onebox.services.access.caller import Caller

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

# Of the scope: who sends the request. No client can write into a scope.
CALLER = "onebox.caller"


class Asked(msgspec.Struct, frozen=True):
    """A POST as a client sent it, without its credentials.

    Attributes:
        host, scheme, root_path: how the server was reached: links begin with it.
    """

    path: str
    body: bytes
    media_type: str = "application/json"
    accept: str = "*/*"
    query: str = ""
    host: str = "localhost"
    scheme: str = "http"
    root_path: str = ""


@dataclass(slots=True)
class Answer:
    """`whole`: its body was not broken off."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    parts: list[bytes] = field(default_factory=list)
    whole: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)


async def send(
    app: App,
    asked: Asked,
    caller: Caller,
    request_id: str,
    *,
    context: Context | None = None,
    further: dict[str, Any] | None = None,
) -> Answer:
    """The answer of the app; who cancels this cancels the request.

    Args:
        context: what the request runs in; a copy of the current one by default.
        further: of the scope.
    """
    answer = Answer()
    body = asyncio.Event()

    async def receive() -> Message:
        if body.is_set():
            # This client never leaves.
            await asyncio.Event().wait()
        body.set()
        return {"type": "http.request", "body": asked.body, "more_body": False}

    async def take(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in message["headers"]
            }
        elif message["type"] == "http.response.body":
            answer.parts.append(bytes(message.get("body", b"")))
            answer.whole = not message.get("more_body", False)

    scope = {**_scope(asked, request_id), CALLER: caller, **(further or {})}

    async def run() -> None:
        await app(scope, receive, take)

    # A task of its own, so that what it binds to its context ends with it.
    await asyncio.get_running_loop().create_task(run(), context=context or copy_context())
    return answer


def _scope(asked: Asked, request_id: str) -> dict[str, Any]:
    headers = {
        "host": asked.host,
        "content-type": asked.media_type,
        "content-length": str(len(asked.body)),
        "accept": asked.accept,
        "x-request-id": request_id,
    }
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": asked.scheme,
        "path": asked.path,
        "raw_path": asked.path.encode(),
        "query_string": asked.query.encode("latin-1"),
        "root_path": asked.root_path,
        "headers": [(name.encode(), text.encode("latin-1")) for name, text in headers.items()],
        "client": None,
        "server": None,
        "state": {},
    }
