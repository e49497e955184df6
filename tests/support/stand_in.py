"""A server on this machine that stands in for a provider: it answers what a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

EVENTS = "text/event-stream"
JSON = "application/json"
# Parts of an answer beside bytes.
STALL = object()
BREAK = object()


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def field(self, name: str) -> bytes | None:
        """Of a form."""
        boundary = self.headers["content-type"].partition("boundary=")[2].encode()
        for part in self.body.split(b"--" + boundary):
            head, _, value = part.partition(b"\r\n\r\n")
            if f'name="{name}"'.encode() in head:
                return value.removesuffix(b"\r\n")
        return None


@dataclass(frozen=True)
class Reply:
    """`parts` are sent one after the other; STALL waits until the client has gone, BREAK cuts the
    connection in the middle of the answer.
    """

    status: int = 200
    parts: Sequence[Any] = ()
    media_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


def json_reply(value: Any, status: int = 200, **headers: str) -> Reply:
    return Reply(status, [json.dumps(value).encode()], JSON, headers)


def events_reply(*events: Any, end: bytes = b"data: [DONE]\n\n") -> Reply:
    """Server-sent events of JSON; STALL and BREAK may stand among them."""
    parts = [
        event if event in (STALL, BREAK) else b"data: " + json.dumps(event).encode() + b"\n\n"
        for event in events
    ]
    return Reply(200, [*parts, end], EVENTS)


class StandIn:
    """Gives each request the next reply; the last one again when there is no more.

    `left` is set when a client has gone in the middle of an answer.
    """

    def __init__(self, *replies: Reply) -> None:
        self.replies = deque(replies)
        self.asked: list[Asked] = []
        self.arrived = asyncio.Event()
        self.left = asyncio.Event()

    async def __aenter__(self) -> StandIn:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                self.arrived.set()
                reply = self.replies.popleft() if len(self.replies) > 1 else self.replies[0]
                if not await self._answer(reply, reader, writer):
                    return
        except ConnectionError:
            self.left.set()
        finally:
            writer.close()

    async def _answer(
        self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Whether the connection goes on."""
        head = {"Content-Type": reply.media_type, "Transfer-Encoding": "chunked", **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} Told", *(f"{n}: {v}" for n, v in head.items()), "", ""]
        begun = False
        for part in reply.parts:
            if part is BREAK:
                return False
            if part is STALL:
                await reader.read()
                self.left.set()
                return False
            if not begun:
                writer.write("\r\n".join(lines).encode())
                begun = True
            writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n" if part else b"")
            await writer.drain()
        if not begun:
            writer.write("\r\n".join(lines).encode())
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    headers = dict(line.lower().split(": ", 1)[:1] + line.split(": ", 1)[1:] for line in head[1:-2])
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(head[0].split(" ")[1], headers, body)
