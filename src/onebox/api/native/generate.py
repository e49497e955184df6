"""`POST /v1/generate`: one prompt in, one text out, whole or as it is written.

An adapter over the task `chat`, with the prompt as the one message.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import filled
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.openai.chat_answer import ChatResult
from onebox.api.openai.text_result import result_of
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import Route
from onebox.api.sse import DONE, EVENT_STREAM, EventStream, plain, wants_events
from onebox.language.messages import MAX_TEXT
from onebox.runtime.wire import Delta
from onebox.services.inference import Inference
from onebox.services.request import Outcome, Prepared
from onebox.tasks.chat import ChatInput

router = APIRouter(route_class=Route, tags=["inference"])

MAX_TOKENS = 16_384


class GenerateRequest(RequestOptions):
    """What is left out is the model's own default."""

    model_config = ConfigDict(extra="forbid")

    prompt: str = Field(min_length=1, max_length=MAX_TEXT)
    model: str | None = Field(
        None, max_length=512, description="SHA-256, prefix of it, name or alias."
    )
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    max_tokens: int | None = Field(
        None, ge=1, le=MAX_TOKENS, description="Default: what the context has left."
    )


class GenerateResponse(BaseModel):
    id: str
    model: str
    text: str
    finish_reason: str = Field(description="`stop`, or `length` at `max_tokens`.")
    prompt_tokens: int
    completion_tokens: int
    seed: int
    processing_time: float = Field(description="Seconds.")


@router.post(
    "/v1/generate",
    summary="A text from a prompt",
    response_model=GenerateResponse,
    responses={200: {"content": {EVENT_STREAM: {}}}},
)
async def generate(
    body: GenerateRequest,
    request: Request,
    services: ServicesDep,
    caller: CallerDep,
    stream: bool = False,
) -> GenerateResponse | Response:
    """`?stream=true` (or `Accept: text/event-stream`) sends `data: {"text": …}` for each piece,
    then one with `finish_reason` and the rest of the answer, then `data: [DONE]`.
    """
    task_input = filled(
        ChatInput,
        messages=[{"role": "user", "content": body.prompt}],
        temperature=body.temperature,
        top_p=body.top_p,
        max_tokens=body.max_tokens,
    )
    prepared = await services.inference.prepare(
        "chat",
        task_input,
        model=body.model,
        caller=caller,
        options=options_of(body, request),
    )
    if stream or wants_events(request):
        return EventStream(_events(services.inference, prepared), request, failed=plain)
    return _response(await services.inference.run(prepared))


async def _events(inference: Inference, prepared: Prepared) -> AsyncGenerator[bytes, None]:
    """Closing it cancels."""
    async with contextlib.aclosing(inference.stream(prepared)) as events:
        async for item in events:
            match item:
                case Delta(data={"content": text}):
                    yield plain({"text": text})
                case Outcome():
                    yield plain({**_response(item).model_dump(), "text": ""}) + DONE


def _response(outcome: Outcome) -> GenerateResponse:
    result = result_of(outcome, ChatResult)
    (choice,) = result.choices
    timing = outcome.timing
    return GenerateResponse(
        id=outcome.prepared.id,
        model=outcome.prepared.entry.name,
        text=choice.content or "",
        finish_reason=choice.finish_reason,
        prompt_tokens=result.usage.prompt_tokens,
        completion_tokens=result.usage.completion_tokens,
        seed=result.seed,
        processing_time=round(timing.load_s + timing.run_s + timing.encode_s, 4),
    )
