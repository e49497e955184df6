"""Server-sent events: the one place that makes them.

A proxy that hears nothing gives up, so a comment goes out at once and whenever the source is
silent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec
import structlog
from fastapi import Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from onebox.api.client_watch import ClientWatch
from onebox.api.errors import app_error_body, internal_error_body
from onebox.core.errors import AppError, Cancelled

log = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
# The last of the events without names, when all went well.
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
PING_S = 10.0
# How long a source may take to fail with a status of its own instead of an event under a 200.
HEAD_S = 0.2
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Chunks = AsyncGenerator[bytes, None]


def wants_events(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "")


def event(name: str, data: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(data))


def plain(data: Any) -> bytes:
    """An event without a name, as OpenAI's clients of text expect them."""
    return b"data: %b\n\n" % msgspec.json.encode(data)


def error_event(body: dict[str, Any]) -> bytes:
    return event("error", body)


class EventStream(StreamingResponse):
    """The events of a source as an answer; the source is closed when the client leaves.

    What the source raises before it gave anything is raised here, for an answer with a status;
    later it is the last event.

    Args:
        source: made of `event` or `plain`; it runs in a task of its own, which no ping interrupts.
        failed: makes the event of an error of its body; `plain` for a source of plain events.
        ping_s: longest silence in seconds.
        head_s: seconds that the answer's head waits for the source's first event or error.
    """

    def __init__(
        self,
        source: Chunks,
        request: Request,
        *,
        failed: Callable[[dict[str, Any]], bytes] = error_event,
        ping_s: float = PING_S,
        head_s: float = HEAD_S,
    ) -> None:
        super().__init__(source, media_type=EVENT_STREAM, headers=HEADERS)
        self._source = source
        self._request = request
        self._failed = failed
        self._ping_s = ping_s
        self._head_s = head_s
        # Bounded, so that a client that reads slowly slows the source down. None is the end.
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue(1)
        self._failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pump = asyncio.create_task(self._pump())
        watch = ClientWatch(receive)
        try:
            with watch:
                watch.begin()
                await self._answer(send)
        except Cancelled:
            if not watch.left:
                raise
        finally:
            pump.cancel()
            await asyncio.wait({pump})

    async def _pump(self) -> None:
        try:
            async with contextlib.aclosing(self._source) as source:
                async for chunk in source:
                    await self._chunks.put(chunk)
        except Exception as error:
            self._failure = error
        await self._chunks.put(None)

    async def _answer(self, send: Send) -> None:
        chunk = await self._next(self._head_s)
        if chunk is None and self._failure is not None:
            raise self._failure
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        if chunk is not PING:
            await _send(PING, send)
        while chunk is not None:
            await _send(chunk, send)
            chunk = await self._next(self._ping_s)
        if self._failure is not None:
            await _send(self._error_event(self._failure), send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, silence_s: float) -> bytes | None:
        """The source's next chunk, a ping after that many seconds without, None after the last."""
        try:
            async with asyncio.timeout(silence_s):
                return await self._chunks.get()
        except TimeoutError:
            return PING

    def _error_event(self, error: Exception) -> bytes:
        if isinstance(error, AppError):
            return self._failed(app_error_body(error, self._request))
        log.error("unhandled_error", exc_info=error)
        return self._failed(internal_error_body(self._request.scope["request_id"]))


async def _send(chunk: bytes, send: Send) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
