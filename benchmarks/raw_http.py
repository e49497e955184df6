"""A load generator's HTTP/1.1: prebuilt requests, keep-alive, and of an answer only its status,
`Content-Length` and `Retry-After`.

On a machine of two cores the generator takes its share of what the server could have, so it does
as little as it can: no headers parsed, no bodies kept, no coroutine for a request but in `ask`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar, cast

T = TypeVar("T")

HEAD_END = b"\r\n\r\n"
LENGTH = b"\r\ncontent-length: "
RETRY_AFTER = b"\r\nretry-after: "


class Answer(NamedTuple):
    """`status` is 0 where the connection ended first; `retry_after_s` is None where not told."""

    status: int
    retry_after_s: float | None = None


LOST = Answer(0)


class Connection(asyncio.Protocol):
    """One connection with at most one request in flight."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._on_answer: Callable[[Answer], None] | None = None
        self._received = b""
        self.is_open = False

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    def send(self, request: bytes, on_answer: Callable[[Answer], None]) -> None:
        """Send now. `on_answer` is called once, also when the connection ends first."""
        assert self._transport is not None
        assert self._on_answer is None, "one request at a time"
        self._on_answer = on_answer
        if not self.is_open:
            self._answer(LOST)
            return
        self._transport.write(request)

    async def ask(self, request: bytes) -> Answer:
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

        def give(told: Answer) -> None:
            # Whoever gave up waiting has cancelled the future.
            if not answer.done():
                answer.set_result(told)

        self.send(request, give)
        return await answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.is_open = True

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._answer(LOST)

    def data_received(self, data: bytes) -> None:
        self._received = received = self._received + data if self._received else data
        end = received.find(HEAD_END)
        if end < 0:
            return
        length = _number_after(received, LENGTH, end)
        if length is None:
            raise ValueError(f"an answer without Content-Length: {received[:end]!r}")
        if len(received) < end + len(HEAD_END) + length:
            return
        self._received = b""
        status = int(received[9:12])
        retry_after_s = None if status == 200 else _number_after(received, RETRY_AFTER, end)
        self._answer(Answer(status, retry_after_s))

    def _answer(self, answer: Answer) -> None:
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(answer)


def _number_after(received: bytes, name: bytes, end: int) -> int | None:
    """The whole number in a header; `end` is where the head ends. Names in lower case, as sent."""
    start = received.find(name, 0, end)
    if start < 0:
        return None
    start += len(name)
    return int(received[start : received.index(b"\r\n", start)])


def request_bytes(
    method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
) -> bytes:
    """A whole request, ready to be written again and again."""
    content = json.dumps(body).encode() if body is not None else b""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Accept: application/json"]
    if key:
        lines.append(f"Authorization: Bearer {key}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + HEAD_END + content


def run_fast(work: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` on uvloop where there is one."""
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        import uvloop

        new_loop = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(work)
