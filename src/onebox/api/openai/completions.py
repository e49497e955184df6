"""`POST /v1/completions`: OpenAI's old text route. An adapter over the task `completion`."""

from __future__ import annotations

import time
from functools import partial
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BeforeValidator, Field

from onebox.api.bodies import JSON, filled, json_body, read_json
from onebox.api.openai.completions_answer import CompletionChunks, CompletionResult, completion
from onebox.api.openai.text_fields import TextFields, refuse_fields, sampling_of
from onebox.api.openai.text_result import result_of
from onebox.api.openai.text_stream import text_events
from onebox.api.options import options_of
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import EVENT_STREAM, EventStream, plain
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.services.request import Prepared
from onebox.tasks.completion import CompletionInput

MAX_TOKENS = 1_048_576
MAX_PROMPTS = 128
MAX_LOGPROBS = 5
DEFAULT_MAX_TOKENS = 16

Prompt = str | list[int]
Prompts = Prompt | list[Prompt]


def _prompts(value: Any) -> Any:
    """A text, texts, token ids, or lists of those: always as a list of prompts."""
    prompts = value if isinstance(value, list) and not _is_ids(value) else [value]
    if not prompts or not all(isinstance(item, str) or _is_ids(item) for item in prompts):
        raise ValueError("must be a text, a list of texts, a list of token ids, or lists of those")
    return prompts


def _is_ids(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(map(_is_id, value))


def _is_id(value: Any) -> bool:
    # A bool is an int too.
    return type(value) is int and 0 <= value < 2**31


class CompletionRequest(TextFields):
    """`suffix`, and `best_of` other than `n`, are refused."""

    prompt: Annotated[list[Any], BeforeValidator(_prompts, Prompts)] = Field(max_length=MAX_PROMPTS)
    max_tokens: int | None = Field(None, ge=0, le=MAX_TOKENS, description="Default 16.")
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=MAX_LOGPROBS)
    best_of: int | None = Field(None, ge=1)
    suffix: Any = None


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/completions",
        complete,
        methods=["POST"],
        summary="A text's continuation, as OpenAI's clients ask for it",
        response_class=Response,
        responses={
            200: {
                "description": "`text_completion`, whole or as server-sent events.",
                "content": {JSON: {}, EVENT_STREAM: {}},
            }
        },
        openapi_extra=json_body(CompletionRequest),
    )
    return router


async def complete(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, CompletionRequest)
    _refuse(body)
    prepared = await services.inference.prepare(
        "completion",
        _input(body),
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )
    head = partial(_head, prepared)
    if body.stream:
        choices = len(body.prompt) * (body.n or 1)
        chunks = CompletionChunks(head, choices=choices, include_usage=body.include_usage)
        return EventStream(text_events(services.inference, prepared, chunks), request, failed=plain)
    outcome = await services.inference.run(prepared)
    answer = completion(result_of(outcome, CompletionResult), head())
    return Response(msgspec.json.encode(answer), media_type=JSON)


def _refuse(body: CompletionRequest) -> None:
    refuse_fields(body, () if body.suffix == "" else ("suffix",))
    if body.best_of not in (None, body.n or 1):
        raise InvalidInput("best_of other than n is not supported by this server", param="best_of")
    if len(body.prompt) * (body.n or 1) > MAX_PROMPTS:
        raise InvalidInput(
            f"{len(body.prompt)} prompts with n={body.n} are more than {MAX_PROMPTS} texts",
            param="n",
            details={"max": MAX_PROMPTS},
        )
    if body.echo and body.logprobs is not None:
        raise InvalidInput("echo cannot be joined with logprobs on this server", param="echo")


def _input(body: CompletionRequest) -> CompletionInput:
    return filled(
        CompletionInput,
        prompts=body.prompt,
        echo=bool(body.echo),
        max_tokens=DEFAULT_MAX_TOKENS if body.max_tokens is None else body.max_tokens,
        top_logprobs=body.logprobs,
        **sampling_of(body),
    )


def _head(prepared: Prepared) -> dict[str, Any]:
    return {
        "id": f"cmpl-{prepared.id}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": prepared.entry.name,
    }
