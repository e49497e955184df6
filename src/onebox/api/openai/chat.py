"""`POST /v1/chat/completions`: OpenAI's chat route. An adapter over the task `chat`."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import JSON, filled, json_body, read_json
from onebox.api.openai.chat_answer import ChatResult, chat_completion
from onebox.api.openai.chat_messages import Conversation, GivenMessage
from onebox.api.openai.chat_stream import ChatChunks
from onebox.api.openai.chat_tools import ToolFields, Tooling, tooling_of
from onebox.api.openai.text_fields import TextFields, refuse_fields, sampling_of
from onebox.api.openai.text_result import result_of
from onebox.api.openai.text_stream import text_events
from onebox.api.options import options_of
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import EVENT_STREAM, EventStream, plain
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.language.grammars.json_schema import check_schema
from onebox.language.messages import MAX_MESSAGES, JsonObject, ResponseFormat
from onebox.language.sampling import MAX_TOP_LOGPROBS
from onebox.services.request import Prepared
from onebox.tasks.chat import ChatInput

MAX_TOKENS = 1_048_576
# They would change what comes back, and this server does not do them.
REFUSED = ("audio", "moderation", "web_search_options")

Limit = Annotated[int | None, Field(ge=1, le=MAX_TOKENS)]


class NamedSchema(BaseModel):
    """The schema is of the documented subset; the answer keeps to it, `strict` or not."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    given: JsonObject = Field(alias="schema")
    strict: bool | None = None


class GivenFormat(BaseModel):
    model_config = ConfigDict(extra="forbid")

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class ChatRequest(ToolFields, TextFields):
    """What says nothing about the answer (`user`, `metadata`, `store`, `service_tier`,
    `safety_identifier`, `prompt_cache_…`, `prediction`, `verbosity`, `reasoning_effort`) is
    accepted, without effect. `audio`, `moderation` and `web_search_options` are refused.
    """

    messages: list[GivenMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    max_completion_tokens: Limit = None
    max_tokens: Limit = Field(None, description="The old name of `max_completion_tokens`.")
    logprobs: bool | None = None
    top_logprobs: int | None = Field(None, ge=0, le=MAX_TOP_LOGPROBS)
    response_format: GivenFormat | None = None
    modalities: list[Literal["text", "audio"]] | None = None
    audio: Any = None
    moderation: Any = None
    web_search_options: Any = None
    metadata: Any = None
    store: Any = None
    service_tier: Any = None
    safety_identifier: Any = None
    prompt_cache_key: Any = None
    prompt_cache_options: Any = None
    prompt_cache_retention: Any = None
    prediction: Any = None
    verbosity: Any = None
    reasoning_effort: Any = None


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/chat/completions",
        complete_chat,
        methods=["POST"],
        summary="The next message of a conversation, as OpenAI's clients ask for it",
        response_class=Response,
        responses={
            200: {
                "description": "`chat.completion`, or its chunks as server-sent events.",
                "content": {JSON: {}, EVENT_STREAM: {}},
            }
        },
        openapi_extra=json_body(ChatRequest),
    )
    return router


async def complete_chat(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, ChatRequest)
    _refuse(body)
    tooling = tooling_of(body)
    prepared = await services.inference.prepare(
        "chat",
        await _input(body, tooling, services),
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )
    if body.stream:
        chunks = _writer(prepared, body, tooling)
        return EventStream(text_events(services.inference, prepared, chunks), request, failed=plain)
    outcome = await services.inference.run(prepared)
    answer = chat_completion(
        result_of(outcome, ChatResult),
        answer_id=_answer_id(prepared),
        created=int(time.time()),
        model=prepared.entry.name,
        legacy=tooling.legacy,
    )
    return Response(msgspec.json.encode(answer), media_type=JSON)


def _refuse(body: ChatRequest) -> None:
    refuse_fields(body, REFUSED)
    if body.modalities is not None and "audio" in body.modalities:
        raise InvalidInput("this server answers with text only", param="modalities")
    if body.top_logprobs is not None and not body.logprobs:
        raise InvalidInput("top_logprobs needs logprobs=true", param="top_logprobs")


async def _input(body: ChatRequest, tooling: Tooling, services: Services) -> ChatInput:
    conversation = Conversation(body.messages)
    top_logprobs = (body.top_logprobs or 0) if body.logprobs else None
    limit = body.max_completion_tokens
    return filled(
        ChatInput,
        messages=conversation.messages,
        images=await conversation.images.load(services.remote_media),
        tools=tooling.tools,
        tool_choice=tooling.tool_choice,
        allowed_tools=tooling.allowed_tools,
        parallel_tool_calls=tooling.parallel_tool_calls,
        response_format=_format(body.response_format),
        max_tokens=body.max_tokens if limit is None else limit,
        top_logprobs=top_logprobs,
        **sampling_of(body),
    )


def _format(given: GivenFormat | None) -> ResponseFormat:
    if given is None:
        return ResponseFormat()
    if given.type != "json_schema":
        return ResponseFormat(type=given.type)
    if given.json_schema is None:
        raise InvalidInput(
            "a response_format of type json_schema needs json_schema",
            param="response_format.json_schema",
        )
    check_schema(given.json_schema.given, "response_format.json_schema.schema")
    return ResponseFormat(type="json_schema", json_schema=given.json_schema.given)


def _writer(prepared: Prepared, body: ChatRequest, tooling: Tooling) -> ChatChunks:
    def head() -> dict[str, Any]:
        return {
            "id": _answer_id(prepared),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": prepared.entry.name,
        }

    return ChatChunks(
        head, choices=body.n or 1, include_usage=body.include_usage, legacy=tooling.legacy
    )


def _answer_id(prepared: Prepared) -> str:
    return f"chatcmpl-{prepared.id}"
