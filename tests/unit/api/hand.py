"""A worker that a test plays: it makes something of each request, as told, or fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import msgspec

from onebox.core.errors import AppError
from onebox.core.results import Artifact, Timing
from onebox.runtime.wire import Delta, Event, Failed, Result
from onebox.services.request import Prepared
from onebox.services.running import RunningRequest
from tests.unit.api.reading import PNG
from tests.unit.api.texts import chat_result, completion_result

USAGE = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}


class Hand:
    """In place of the way to a worker: makes something of each request that can be told from what
    is made of any other.

    Attributes:
        seen: the requests, in the order in which they came.
        failures: of the next requests, one each.
        before: awaited before a request ends, with the request.
        timing: of each request.
    """

    def __init__(self) -> None:
        self.seen: list[Prepared] = []
        self.failures: list[AppError] = []
        self.before: Callable[[Prepared], Coroutine[Any, Any, None]] | None = None
        self.timing = Timing()

    @contextlib.asynccontextmanager
    async def exchange(
        self, prepared: Prepared, running: Any, *, only_end: bool
    ) -> AsyncIterator[AsyncIterator[Event]]:
        yield self._observed(self._events(prepared, running), running)

    async def with_bytes(self, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        return artifacts

    def retry_after_s(self, prepared: Prepared, running: Any) -> None:
        return None

    async def _observed(
        self, events: AsyncIterator[Event], running: RunningRequest
    ) -> AsyncIterator[Event]:
        async for event in events:
            running.observe(event)
            yield event

    async def _events(self, prepared: Prepared, running: RunningRequest) -> AsyncIterator[Event]:
        self.seen.append(prepared)
        if self.before is not None:
            work = asyncio.ensure_future(self.before(prepared))
            running.on_cancel = work.cancel
            try:
                await work
            except asyncio.CancelledError:
                if not running.cancelled:
                    raise
                yield Failed("w", "cancelled", "the request was cancelled")
                return
        if prepared.task.name == "speech":
            yield Delta("w", {"data": b"sound of %d" % prepared.input.seed})
        if self.failures:
            error = self.failures.pop(0)
            yield Failed("w", error.code, error.message, error.param)
            return
        made = MAKERS.get(prepared.task.name, _text)(prepared.input)
        yield Result("w", tuple(made), self.timing)


def _pictures(given: Any) -> list[Artifact]:
    facts = {"width": given.width or 8, "height": given.height or 8}
    return [
        Artifact("image/png", PNG + b"%d" % seed, None, {"seed": seed, **facts})
        for seed in range(given.seed, given.seed + given.n)
    ]


def _vectors(given: Any) -> list[Artifact]:
    data = [
        {"object": "embedding", "index": index, "embedding": [float(len(text))]}
        for index, text in enumerate(given.inputs)
    ]
    return _json({"data": data, "usage": {"prompt_tokens": 1, "total_tokens": 1}})


def _sound(given: Any) -> list[Artifact]:
    return _json({"seed": given.seed, "duration": 1.0, "usage": USAGE})


def _transcript(given: Any) -> list[Artifact]:
    heard = len(given.file.data or b"")
    return _json({"text": f"{heard} bytes", "language": "en", "duration": 1.0, "segments": []})


def _text(given: Any) -> list[Artifact]:
    return _json(completion_result() if hasattr(given, "prompts") else chat_result())


def _json(value: Any) -> list[Artifact]:
    return [Artifact("application/json", msgspec.json.encode(value))]


MAKERS: dict[str, Callable[[Any], list[Artifact]]] = {
    "text-to-image": _pictures,
    "image-to-image": _pictures,
    "embeddings": _vectors,
    "speech": _sound,
    "transcription": _transcript,
}


class Stuck:
    """For `Hand.before`: embeddings of the text "stuck" never end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, prepared: Prepared) -> None:
        given: Any = prepared.input
        if given.inputs == ["stuck"]:
            self.begun.set()
            await asyncio.Event().wait()
