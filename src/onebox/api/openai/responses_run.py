"""Runs a response: at once, as a stream of events, or in the background."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Iterator

from onebox.api.openai.chat_answer import ChatResult
from onebox.api.openai.responses_answer import INTERNAL, Answer, public_error
from onebox.api.openai.responses_output import Event
from onebox.api.openai.responses_turn import Turn, shortened
from onebox.api.openai.text_result import result_of
from onebox.api.sse import event
from onebox.bootstrap import Services
from onebox.core.errors import AppError, Cancelled, ContextOverflow, InvalidInput, ShuttingDown
from onebox.runtime import wire
from onebox.services.request import Outcome

# How often the oldest items may give way before the overflow is told.
MAX_SHORTENED = 8


class _EventWriter:
    """Numbers the events of one stream."""

    def __init__(self) -> None:
        self._next = 0

    def write(self, events: Iterable[Event]) -> bytes:
        return b"".join([self._one(one) for one in events])

    def begin(self, answer: Answer) -> bytes:
        return self.tell("response.created", answer) + self.tell("response.in_progress", answer)

    def tell(self, kind: str, answer: Answer) -> bytes:
        return self._one({"type": kind, "response": answer.public()})

    def _one(self, one: Event) -> bytes:
        number, self._next = self._next, self._next + 1
        return event(one["type"], {**one, "sequence_number": number})


async def run_whole(services: Services, turn: Turn, answer: Answer) -> None:
    """To its end, and stored if it is to be. Raises what it ends in; then nobody knows its id."""
    outcome = await _outcome(services, turn)
    answer.end_whole(result_of(outcome, ChatResult))
    if turn.body.is_stored:
        await services.responses.insert(answer.stored(), turn.conversation)


async def stream_events(
    services: Services, turn: Turn, answer: Answer
) -> AsyncGenerator[bytes, None]:
    """The events as they come. Closing it cancels.

    Raises what goes wrong before the first of them; later that is an event too.
    """
    writer, begun, last = _EventWriter(), False, b""
    try:
        async with contextlib.aclosing(_items(services, turn)) as items:
            async for item in items:
                if not begun:
                    begun = True
                    yield writer.begin(answer)
                if isinstance(item, Outcome):
                    last = writer.write(answer.end(result_of(item, ChatResult)))
                elif isinstance(item, wire.Delta) and (
                    chunk := writer.write(answer.output.write(item.data))
                ):
                    yield chunk
    except (asyncio.CancelledError, GeneratorExit):
        # With the first event the client was told the id.
        if begun and turn.body.is_stored:
            answer.cancel()
            services.responses.insert_soon(answer.stored(), turn.conversation)
        raise
    except AppError as error:
        if not begun:
            raise
        _end_badly(answer, error)
    # Before the end is told: what comes next may refer to it.
    if turn.body.is_stored:
        await services.responses.insert(answer.stored(), turn.conversation)
    yield last + writer.tell(answer.last_event, answer)


async def run_in_background(services: Services, turn: Turn, answer: Answer) -> None:
    """To its end, which is stored whatever it is. It must have been stored before."""
    try:
        await _write_all(services, turn, answer)
    except asyncio.CancelledError:
        if services.background.was_cancelled(answer.id):
            answer.cancel()
        else:
            answer.fail(public_error(ShuttingDown("the server was stopped; send it again")))
        raise
    except AppError as error:
        _end_badly(answer, error)
    except Exception:
        answer.fail(INTERNAL)
        raise
    finally:
        await services.responses.replace(answer.stored())


async def _write_all(services: Services, turn: Turn, answer: Answer) -> None:
    async with contextlib.aclosing(_items(services, turn)) as items:
        async for item in items:
            if isinstance(item, wire.Delta):
                deque(answer.output.write(item.data), 0)
            elif isinstance(item, Outcome):
                deque(answer.end(result_of(item, ChatResult)), 0)
            elif answer.is_queued:
                answer.begin()
                await services.responses.replace(answer.stored())


def _end_badly(answer: Answer, error: AppError) -> None:
    if isinstance(error, Cancelled):
        answer.cancel()
    else:
        answer.fail(public_error(error))


async def _outcome(services: Services, turn: Turn) -> Outcome:
    for _ in range(MAX_SHORTENED):
        try:
            return await _run(services, turn)
        except ContextOverflow as overflow:
            turn = await _next_try(services, turn, overflow)
    return await _run(services, turn)


async def _items(services: Services, turn: Turn) -> AsyncGenerator[wire.Event | Outcome, None]:
    """The events of the request, or of the first one that is short enough, then the Outcome."""
    for _ in range(MAX_SHORTENED):
        try:
            async with contextlib.aclosing(_stream(services, turn)) as items:
                async for item in items:
                    yield item
            return
        except ContextOverflow as overflow:
            turn = await _next_try(services, turn, overflow)
    async with contextlib.aclosing(_stream(services, turn)) as items:
        async for item in items:
            yield item


async def _stream(services: Services, turn: Turn) -> AsyncGenerator[wire.Event | Outcome, None]:
    with _own_names():
        async with contextlib.aclosing(services.inference.stream(turn.prepared)) as items:
            async for item in items:
                yield item


async def _run(services: Services, turn: Turn) -> Outcome:
    with _own_names():
        return await services.inference.run(turn.prepared)


@contextlib.contextmanager
def _own_names() -> Iterator[None]:
    """The chat task's messages are this route's input."""
    try:
        yield
    except InvalidInput as error:
        if error.param == "messages":
            error.param = "input"
        raise


async def _next_try(services: Services, turn: Turn, overflow: ContextOverflow) -> Turn:
    if turn.body.truncation != "auto":
        raise overflow
    return await shortened(turn, services, overflow)
