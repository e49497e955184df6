"""A WebSocket to an app, message by message."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

from fastapi import FastAPI

USER = (("authorization", "Bearer user-key"),)


class Socket:
    """One client, and the app that serves it."""

    def __init__(
        self,
        app: FastAPI,
        target: str,
        headers: Iterable[tuple[str, str]] = USER,
        subprotocols: Iterable[str] = (),
        host: str = "testserver",
    ) -> None:
        path, _, query = target.partition("?")
        given = [("host", host), *headers]
        self._scope = {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), text.encode("latin-1")) for name, text in given],
            "client": ("127.0.0.1", 5000),
            "server": ("127.0.0.1", 8000),
            "subprotocols": list(subprotocols),
            "state": {},
            "extensions": {"websocket.http.response": {}},
        }
        self._app = app
        self._to_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._from_app: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_app.put_nowait({"type": "websocket.connect"})

    async def serve(self) -> None:
        await self._app(self._scope, self._to_app.get, self._from_app.put)

    def sound(self, data: bytes) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "bytes": data})

    def text(self, text: str) -> None:
        self._to_app.put_nowait({"type": "websocket.receive", "text": text})

    def control(self, name: str) -> None:
        self.text(json.dumps({"type": name}))

    def leave(self) -> None:
        self._to_app.put_nowait({"type": "websocket.disconnect", "code": 1005})

    async def raw(self) -> dict[str, Any]:
        async with asyncio.timeout(60):
            return await self._from_app.get()

    async def message(self) -> dict[str, Any]:
        """The next JSON message."""
        return json.loads((await self.raw())["text"])

    async def until_closed(self) -> tuple[list[dict[str, Any]], int]:
        """All messages that are left, and the code of the close frame."""
        found: list[dict[str, Any]] = []
        while (message := await self.raw())["type"] != "websocket.close":
            found.append(json.loads(message["text"]))
        return found, message["code"]


@contextlib.asynccontextmanager
async def connected(app: FastAPI, target: str, **options: Any) -> AsyncIterator[Socket]:
    """A socket whose app has ended when the block does."""
    socket = Socket(app, target, **options)
    serving = asyncio.ensure_future(socket.serve())
    try:
        yield socket
        async with asyncio.timeout(60):
            await serving
    finally:
        serving.cancel()
        await asyncio.wait({serving})


def handshake(app: FastAPI, target: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """The status that a handshake is answered with, 101 if it is accepted, and what comes with it:
    the error, or the accepting message.
    """

    async def run() -> tuple[int, dict[str, Any]]:
        async with connected(app, target, **options) as socket:
            head = await socket.raw()
            if head["type"] == "websocket.accept":
                socket.leave()
                return 101, head
            if head["type"] == "websocket.close":
                return 403, {}
            return head["status"], json.loads((await socket.raw())["body"])["error"]

    return asyncio.run(run())
