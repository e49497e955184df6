"""`POST /v1/rerank`: which documents answer a question, as clients of Cohere and Jina ask for it.

An adapter over the task `rerank`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, Field, model_validator

from onebox.api.bodies import JSON, filled, json_body, read_json
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import Route
from onebox.api.token_usage import TokenUsage
from onebox.bootstrap import Services
from onebox.language.messages import MAX_TEXT
from onebox.services.request import Outcome
from onebox.tasks.rerank import RerankInput

MAX_DOCUMENTS = 1000
PATHS = ("/v1/rerank", "/v2/rerank")

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]


class Document(BaseModel):
    """What else a document says is not looked at."""

    text: str


def _text(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "text" not in value:
        raise ValueError("a document is a text, or an object with `text`")
    return value["text"]


class RerankRequest(RequestOptions, extra="forbid"):
    model: str | None = Field(
        None, max_length=512, description="SHA-256, prefix of it, name or alias."
    )
    query: Text
    documents: list[Annotated[Text, BeforeValidator(_text, str | Document)]] = Field(
        min_length=1, max_length=MAX_DOCUMENTS
    )
    top_n: int | None = Field(
        None, ge=1, lt=2**31, description="So many of the best; all if left out."
    )
    return_documents: bool | None = Field(None, description="With the documents' texts.")
    max_tokens_per_doc: int | None = Field(
        None, ge=1, lt=2**31, description="Cut documents to so many tokens; and `truncate`."
    )
    truncate: bool | None = Field(
        None, description="Cut what is too long for the model, instead of refusing it."
    )

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        """Clients send null for fields of other services that they do not use."""
        if not isinstance(fields, dict):
            return fields
        return {name: value for name, value in fields.items() if value is not None}


class Ranked(BaseModel):
    index: int = Field(description="Place among the documents of the request.")
    relevance_score: float
    document: Document | None = None


class TokenCounts(BaseModel):
    input_tokens: int


class Meta(BaseModel):
    tokens: TokenCounts


class RerankResponse(BaseModel):
    """Best first. `usage` is where Jina's clients look, `meta` where Cohere's do."""

    id: str
    object: str = "list"
    model: str
    results: list[Ranked]
    usage: TokenUsage
    meta: Meta


class Score(msgspec.Struct):
    index: int
    relevance_score: float


class RerankResult(msgspec.Struct):
    """What the task answers."""

    results: list[Score]
    usage: TokenUsage


def create_router() -> APIRouter:
    router = APIRouter(route_class=Route, tags=["inference"])
    for path in PATHS:
        router.add_api_route(
            path,
            rerank,
            methods=["POST"],
            operation_id=path[1:].replace("/", "_"),
            summary="Documents, the most relevant for a question first",
            response_class=Response,
            responses={200: {"model": RerankResponse}},
            openapi_extra=json_body(RerankRequest),
        )
    return router


async def rerank(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, RerankRequest)
    task_input = filled(
        RerankInput,
        query=body.query,
        documents=body.documents,
        top_n=body.top_n,
        max_document_tokens=body.max_tokens_per_doc,
        truncate=bool(body.truncate or body.max_tokens_per_doc),
    )
    prepared = await services.inference.prepare(
        "rerank",
        task_input,
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )
    answer = _answer(await services.inference.run(prepared), body)
    return Response(msgspec.json.encode(answer), media_type=JSON)


def _answer(outcome: Outcome, body: RerankRequest) -> dict[str, Any]:
    (artifact,) = outcome.artifacts
    result = msgspec.json.decode(artifact.data or b"", type=RerankResult)
    return {
        "id": f"rerank-{outcome.prepared.id}",
        "object": "list",
        "model": outcome.prepared.entry.name,
        "results": [_ranked(score, body) for score in result.results],
        "usage": result.usage,
        "meta": {"tokens": {"input_tokens": result.usage.prompt_tokens}},
    }


def _ranked(score: Score, body: RerankRequest) -> dict[str, Any]:
    ranked = {"index": score.index, "relevance_score": score.relevance_score}
    if not body.return_documents:
        return ranked
    return {**ranked, "document": {"text": body.documents[score.index]}}
