"""`POST /api/llm` and `/api/embedding`: adapters over the tasks `chat` and `embeddings`."""

from __future__ import annotations

from typing import Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.compat.asking import MODEL, json_answer, run
from onebox.api.compat.routing import StudioRoute
from onebox.api.openai.chat_answer import ChatResult
from onebox.api.openai.text_result import result_of
from onebox.language.messages import MAX_MESSAGES, MAX_TEXT
from onebox.tasks.chat import ChatInput
from onebox.tasks.embeddings import EmbeddingsInput

MAX_TOKENS = 1_048_576


class StudioMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Literal["system", "user", "assistant"]
    content: str = Field(max_length=MAX_TEXT)


class LlmRequest(BaseModel):
    """null is the same as left out: the model's own default."""

    model_config = ConfigDict(extra="forbid")

    messages: list[StudioMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    model: str | None = MODEL
    max_tokens: int | None = Field(
        default=None, ge=1, le=MAX_TOKENS, description="Default: what the context has left."
    )
    temperature: float | None = Field(default=None, ge=0, le=2, allow_inf_nan=False)
    top_p: float | None = Field(default=None, ge=0, le=1, allow_inf_nan=False)
    top_k: int | None = Field(default=None, ge=0, le=1_000_000)


class LlmAnswer(BaseModel):
    response: str
    model: str
    tokens_used: int = Field(description="Of the messages and of the response.")
    stop_reason: str = Field(description="`stop`, or `length` at `max_tokens`.")


class EmbeddingRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=MAX_TEXT)
    model: str | None = MODEL


class EmbeddingAnswer(BaseModel):
    embedding: list[float]
    dimension: int
    model: str
    tokens_used: int


class Vector(msgspec.Struct):
    embedding: list[float]


class Tokens(msgspec.Struct):
    total_tokens: int


class Vectors(msgspec.Struct):
    """What the task answers."""

    data: list[Vector]
    usage: Tokens


def create_router() -> APIRouter:
    router = APIRouter(route_class=StudioRoute, tags=["compat"])
    router.add_api_route(
        "/api/llm",
        answer_chat,
        methods=["POST"],
        operation_id="studio_llm",
        summary="The next message of a conversation",
        response_class=Response,
        responses={200: {"model": LlmAnswer}},
        openapi_extra=json_body(LlmRequest),
    )
    router.add_api_route(
        "/api/embedding",
        embed,
        methods=["POST"],
        operation_id="studio_embedding",
        summary="A text as a vector",
        response_class=Response,
        responses={200: {"model": EmbeddingAnswer}},
        openapi_extra=json_body(EmbeddingRequest),
    )
    return router


async def answer_chat(request: Request) -> Response:
    body = await read_json(request, LlmRequest)
    task_input = filled(ChatInput, **body.model_dump(exclude={"model"}, exclude_none=True))
    outcome = await run(request, "chat", task_input, body.model)
    result = result_of(outcome, ChatResult)
    (choice,) = result.choices
    usage = result.usage
    told = {
        "response": choice.content or "",
        "model": outcome.prepared.entry.name,
        "tokens_used": usage.prompt_tokens + usage.completion_tokens,
        "stop_reason": choice.finish_reason,
    }
    return json_answer(told)


async def embed(request: Request) -> Response:
    body = await read_json(request, EmbeddingRequest)
    task_input = filled(EmbeddingsInput, inputs=[body.text])
    outcome = await run(request, "embeddings", task_input, body.model)
    (artifact,) = outcome.artifacts
    found = msgspec.json.decode(artifact.data or b"", type=Vectors)
    (vector,) = found.data
    told = {
        "embedding": vector.embedding,
        "dimension": len(vector.embedding),
        "model": outcome.prepared.entry.name,
        "tokens_used": found.usage.total_tokens,
    }
    return json_answer(told)
