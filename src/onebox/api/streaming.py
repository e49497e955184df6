"""Answers whose body comes while it is made: server-sent events, and files that are sent part by
part.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Mapping
from typing import ClassVar

import structlog
from fastapi import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from onebox.api.client_watch import ClientWatch
from onebox.api.error_shape import ERROR_CODE
from onebox.core.errors import AppError, Cancelled

log = structlog.get_logger(__name__)

# So that no proxy keeps anything back.
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}

Chunks = AsyncGenerator[bytes, None]

# Of a body that is sent at once: what is larger keeps the event loop from everything else.
PIECE_BYTES = 1024 * 1024


class SourceStream(StreamingResponse, ABC):
    """What a source gives, as an answer; the source is closed when the client leaves.

    What the source raises before it gave anything is raised here, for an answer with a status.

    Args:
        source: it runs in a task of its own, which no silence interrupts.
        head_s: seconds that the answer's head waits for the source's first chunk or error.
        silence_s: seconds without a chunk after which `filler` is sent.
    """

    filler: ClassVar[bytes] = b""

    def __init__(
        self,
        source: Chunks,
        request: Request,
        *,
        media_type: str,
        headers: Mapping[str, str] | None = None,
        head_s: float | None = None,
        silence_s: float | None = None,
    ) -> None:
        super().__init__(source, media_type=media_type, headers={**HEADERS, **(headers or {})})
        self._source = source
        self._request = request
        self._head_s = head_s
        self._silence_s = silence_s
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
            scope[ERROR_CODE] = Cancelled.code
        finally:
            pump.cancel()
            await asyncio.wait({pump})

    @abstractmethod
    def _last_words(self, failure: Exception) -> bytes | None:
        """What ends the body after a late failure; None breaks it off."""

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
        if self.filler and chunk is not self.filler:
            await _send(self.filler, send)
        while chunk is not None:
            await _send(chunk, send)
            chunk = await self._next(self._silence_s)
        if self._failure is not None:
            last = self._last_words(self._failure)
            if last is None:
                # A body without its end: the server closes the connection, and the client sees it.
                return
            await _send(last, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _next(self, silence_s: float | None) -> bytes | None:
        """The source's next chunk, the filler after that many seconds without, None at the end."""
        try:
            async with asyncio.timeout(silence_s):
                return await self._chunks.get()
        except TimeoutError:
            return self.filler


class ByteStream(SourceStream):
    """A file that is sent while it is made. One that fails on the way is broken off: there is no
    other way to tell a client that what it has is not all.
    """

    def _last_words(self, failure: Exception) -> None:
        code = AppError.code
        if isinstance(failure, AppError):
            code = failure.code
            log.warning("stream_broken_off", code=code, message=failure.message)
        else:
            log.error("unhandled_error", exc_info=failure)
        self._request.scope[ERROR_CODE] = code


class LargeResponse(Response):
    """A body that may be large, sent no faster than its client reads."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        await _send(bytes(self.body), send, more=False)


async def _send(chunk: bytes, send: Send, *, more: bool = True) -> None:
    """In pieces; `more`: it is not the last of the body."""
    for start in range(0, len(chunk) or 1, PIECE_BYTES):
        end = start + PIECE_BYTES
        is_last = end >= len(chunk) and not more
        await send(
            {"type": "http.response.body", "body": chunk[start:end], "more_body": not is_last}
        )
