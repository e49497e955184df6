"""A prompt in, a text out: for `POST /generate` and `/local/generate`.

An adapter over the task `chat`, with the prompt as the one message.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from onebox.api.bodies import filled, read_json
from onebox.api.compat.asking import MODEL, json_answer, prepared
from onebox.api.errors import located
from onebox.api.openai.chat_answer import ChatResult
from onebox.api.openai.text_result import result_of
from onebox.api.sse import EVENT_STREAM, EventStream, wants_events
from onebox.bootstrap import Services
from onebox.core.settings import Settings
from onebox.language.messages import MAX_TEXT
from onebox.runtime.wire import Delta
from onebox.services.inference import Inference
from onebox.services.request import Prepared
from onebox.tasks.chat import ChatInput

MAX_TOKENS = 16_384
# What ends a line of an event.
LINE_END = re.compile(rb"\r\n|\r|\n")
DONE = b"event: done\ndata:\n\n"
STREAM = "stream"


class PromptRequest(BaseModel):
    """What is left out is as the settings `ONEBOX_COMPAT_…` have it, else the model's own."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=MAX_TEXT)
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    max_tokens: int | None = Field(default=None, ge=1, le=MAX_TOKENS)
    model: str | None = MODEL


class PromptAnswer(BaseModel):
    response: str


class _Query(BaseModel):
    stream: bool = False


def stream_parameter() -> dict[str, Any]:
    """What `openapi_extra` must hold for the query."""
    told = {
        "name": STREAM,
        "in": "query",
        "description": "Send the text as events while it is written.",
        "schema": {"type": "boolean", "default": False},
    }
    return {"parameters": [told]}


def prompt_responses() -> dict[str, Any]:
    """What the API's pages say of events beside the JSON."""
    return {"content": {EVENT_STREAM: {}}}


async def answer_prompt(request: Request) -> Response:
    """`?stream=true` (or `Accept: text/event-stream`) sends the text itself, piece by piece, in
    `data:` lines, and an event `done` at its end.
    """
    services: Services = request.app.state.services
    streams = _streams(request)
    body = await read_json(request, PromptRequest)
    asked = await prepared(
        request,
        "chat",
        _input(body, services.settings),
        body.model or services.settings.compat_model,
    )
    if streams:
        return EventStream(_events(services.inference, asked), request)
    outcome = await services.inference.run(asked)
    (choice,) = result_of(outcome, ChatResult).choices
    return json_answer({"response": choice.content or ""})


def _streams(request: Request) -> bool:
    try:
        query = _Query.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise located(error, "query") from error
    return query.stream or wants_events(request)


def _input(body: PromptRequest, settings: Settings) -> ChatInput:
    temperature = settings.compat_temperature if body.temperature is None else body.temperature
    max_tokens = settings.compat_max_tokens if body.max_tokens is None else body.max_tokens
    return filled(
        ChatInput,
        messages=[{"role": "user", "content": body.prompt}],
        temperature=temperature,
        top_p=body.top_p,
        max_tokens=max_tokens,
    )


async def _events(inference: Inference, asked: Prepared) -> AsyncGenerator[bytes, None]:
    """Closing it cancels."""
    async with contextlib.aclosing(inference.stream(asked)) as events:
        async for item in events:
            match item:
                case Delta(data={"content": str(text)}) if text:
                    yield text_event(text)
    yield DONE


def text_event(text: str) -> bytes:
    """A piece of text as it is: a line of it is a line of the event, as whoever reads events puts
    them together again.
    """
    lines = LINE_END.split(text.encode("utf-8", "replace"))
    return b"".join(b"data: %b\n" % line for line in lines) + b"\n"
