"""Streams of text chunks: every chunk but what changes is encoded once for all."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from functools import cached_property
from typing import Any

import msgspec

from onebox.api.openai.text_result import TextResult, usage_of
from onebox.api.sse import DONE
from onebox.runtime.wire import Delta
from onebox.services.inference import Inference
from onebox.services.request import Outcome, Prepared

encode = msgspec.json.encode


class ChunkWriter(ABC):
    """Writes the chunks of one request.

    The last chunk of the last choice waits for the result, and has the fingerprint.

    Args:
        head: gives what all chunks begin with: id, object, created, model. Called with the first
            one: until then another model may take over.
        choices: how many are written side by side.
        include_usage: a further chunk without choices holds it.
    """

    def __init__(
        self, head: Callable[[], dict[str, Any]], *, choices: int, include_usage: bool
    ) -> None:
        self._give_head = head
        self._tail = b'],"usage":null}\n\n' if include_usage else b"]}\n\n"
        self._include_usage = include_usage
        self._open = choices
        self._last: bytes | None = None

    @cached_property
    def _head(self) -> bytes:
        return b"data: " + encode(self._give_head())[:-1] + b',"choices":['

    @abstractmethod
    def write(self, delta: dict[str, Any]) -> bytes:
        """The chunks of what a task told of one choice; there may be none."""

    @abstractmethod
    def end(self, outcome: Outcome) -> bytes:
        """The chunks that come when all is done."""

    def _chunk(self, choice: bytes) -> bytes:
        return b"%b%b%b" % (self._head, choice, self._tail)

    def _finishing(self, choice: bytes) -> bytes:
        """The chunk that ends a choice, unless it is the last one."""
        self._open -= 1
        if self._open:
            return self._chunk(choice)
        self._last = choice
        return b""

    def _end(self, result: TextResult) -> bytes:
        mark = b'],"system_fingerprint":%b' % encode(result.fingerprint)
        chunks = b""
        if self._last is not None:
            chunks = b"%b%b%b%b" % (self._head, self._last, mark, self._tail[1:])
        if self._include_usage:
            usage = encode(usage_of(result.usage))
            chunks += b'%b%b,"usage":%b}\n\n' % (self._head, mark, usage)
        return chunks + DONE


async def text_events(
    inference: Inference, prepared: Prepared, writer: ChunkWriter
) -> AsyncGenerator[bytes, None]:
    """The chunks as they come. Closing it cancels."""
    async with contextlib.aclosing(inference.stream(prepared)) as events:
        async for item in events:
            if isinstance(item, Delta):
                chunk = writer.write(item.data)
            elif isinstance(item, Outcome):
                chunk = writer.end(item)
            else:
                continue
            if chunk:
                yield chunk
