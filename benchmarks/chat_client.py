"""A client of `/v1/chat/completions` that notes when each piece of an answer arrived.

It shares the machine with the server it asks, so it does as little as it can while an answer comes:
it takes the bytes apart when the answer is over.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from benchmarks.raw_http import HEAD_END, request_bytes

PATH = "/v1/chat/completions"
LIMIT = 2**20

Messages = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Asked:
    """Where and how one server is asked.

    Attributes:
        fields: for so many tokens, the fields of the body that only this server needs.
    """

    name: str
    port: int
    model: str
    key: str | None = None
    fields: Callable[[int], dict[str, Any]] = lambda _: {}

    def body(self, messages: Messages, tokens: int, **more: Any) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": messages,
            "max_tokens": tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self.fields(tokens),
            **more,
        }


@dataclass(slots=True)
class Answer:
    """One streamed answer, with times of `time.perf_counter`.

    Attributes:
        pieces: when each piece of text arrived.
        tokens: as the server counted, or else the pieces.
    """

    sent: float
    ended: float = 0.0
    pieces: list[float] = field(default_factory=list)
    text: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    tokens: int = 0

    @property
    def first_s(self) -> float:
        return self.pieces[0] - self.sent

    def gaps(self) -> list[float]:
        return [later - earlier for earlier, later in pairwise(self.pieces)]


async def ask(
    server: Asked,
    messages: Messages,
    tokens: int,
    on_bytes: Callable[[], None] | None = None,
    **more: Any,
) -> Answer:
    """Ask and read to the end. `on_bytes` is called whenever something of the answer arrives."""
    request = request_bytes("POST", PATH, server.body(messages, tokens, **more), key=server.key)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=LIMIT)
    answer = Answer(time.perf_counter())
    try:
        writer.write(request)
        head = await reader.readuntil(HEAD_END)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(f"{server.name}: {head!r} {await reader.read(2000)!r}")
        arrived = await _arrived(reader, on_bytes)
    finally:
        writer.close()
    answer.ended = time.perf_counter()
    _take_apart(arrived, answer)
    if not answer.pieces:
        raise RuntimeError(f"{server.name} answered with nothing: {arrived!r}"[:2000])
    return answer


async def _arrived(
    reader: asyncio.StreamReader, on_bytes: Callable[[], None] | None
) -> list[tuple[float, bytes]]:
    """The chunks of a chunked body and when they came."""
    arrived = []
    while size := int(await reader.readuntil(b"\r\n"), 16):
        chunk = await reader.readexactly(size + 2)
        arrived.append((time.perf_counter(), chunk[:-2]))
        if on_bytes is not None:
            on_bytes()
    return arrived


def _take_apart(arrived: Sequence[tuple[float, bytes]], answer: Answer) -> None:
    rest = b""
    for when, chunk in arrived:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                _note(json.loads(line[6:]), when, answer)
    answer.tokens = answer.tokens or len(answer.pieces)


def _note(event: dict[str, Any], when: float, answer: Answer) -> None:
    if event.get("error"):
        raise RuntimeError(f"the stream ended with {event}")
    for choice in event.get("choices") or []:
        text = (choice.get("delta") or {}).get("content")
        if text:
            answer.pieces.append(when)
            answer.text += text
    usage = event.get("usage")
    if usage:
        answer.tokens = usage["completion_tokens"]
        answer.prompt_tokens = usage["prompt_tokens"]
        details = usage.get("prompt_tokens_details") or {}
        answer.cached_tokens = details.get("cached_tokens") or 0


@dataclass(frozen=True, slots=True)
class Round:
    """What a number of clients got that asked side by side."""

    tokens_per_s: float
    answers: Sequence[Answer]


async def side_by_side(
    server: Asked, prompts: Sequence[Messages], clients: int, tokens: int, **more: Any
) -> Round:
    """All prompts, by so many clients that each ask for the next as soon as they have an answer."""
    waiting = iter(prompts)
    answers: list[Answer] = []

    async def client() -> None:
        for messages in waiting:
            answers.append(await ask(server, messages, tokens, **more))

    started = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    seconds = time.perf_counter() - started
    return Round(sum(answer.tokens for answer in answers) / seconds, answers)
