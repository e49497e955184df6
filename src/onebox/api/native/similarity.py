"""`POST /v1/similarity`: how much some sentences mean what one does.

An adapter over the task `similarity`, in a form of its own and in that of Hugging Face's servers.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field, model_validator

from onebox.api.bodies import JSON, filled, json_body, read_json
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import Route
from onebox.api.token_usage import TokenUsage
from onebox.bootstrap import Services
from onebox.language.messages import MAX_TEXT
from onebox.services.request import Outcome
from onebox.tasks.similarity import SimilarityInput

MAX_SENTENCES = 2047

Text = Annotated[str, Field(min_length=1, max_length=MAX_TEXT)]
Texts = Annotated[list[Text], Field(min_length=1, max_length=MAX_SENTENCES)]


class Inputs(BaseModel, extra="forbid"):
    source_sentence: Text
    sentences: Texts


class Parameters(BaseModel, extra="forbid"):
    prompt_name: str | None = Field(default=None, max_length=256)
    truncate: bool | None = None


class SimilarityRequest(RequestOptions, extra="forbid"):
    """`source`, `sentences`, `prompt` and `truncate`, or those of Hugging Face's servers: `inputs`
    and `parameters`, which are answered by a bare list.
    """

    model: str | None = Field(
        None, max_length=512, description="SHA-256, prefix of it, name or alias."
    )
    source: Text | None = None
    sentences: Texts | None = None
    prompt: str | None = Field(
        None, max_length=256, description="Name of one of the model's prompts, put before texts."
    )
    truncate: bool | None = Field(
        None, description="Cut what is too long for the model, instead of refusing it."
    )
    inputs: Inputs | None = None
    parameters: Parameters | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        own = {"source", "sentences", "prompt", "truncate"} & self.model_fields_set
        other = {"inputs", "parameters"} & self.model_fields_set
        is_whole = self.inputs if other else self.source and self.sentences
        if (own and other) or not is_whole:
            raise ValueError("give either source and sentences, or inputs with both")
        return self


class SimilarityResponse(BaseModel):
    model: str
    scores: list[float] = Field(description="Of the sentences in their order, 1 for the same.")
    usage: TokenUsage


class SimilarityResult(msgspec.Struct):
    """What the task answers."""

    scores: list[float]
    usage: TokenUsage


def create_router() -> APIRouter:
    router = APIRouter(route_class=Route, tags=["inference"])
    router.add_api_route(
        "/v1/similarity",
        compare,
        methods=["POST"],
        summary="How much sentences mean what another one does",
        response_class=Response,
        responses={200: {"model": SimilarityResponse | list[float]}},
        openapi_extra=json_body(SimilarityRequest),
    )
    return router


async def compare(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, SimilarityRequest)
    prepared = await services.inference.prepare(
        "similarity",
        _input(body),
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )
    answer = _answer(await services.inference.run(prepared), bare=body.inputs is not None)
    return Response(msgspec.json.encode(answer), media_type=JSON)


def _input(body: SimilarityRequest) -> SimilarityInput:
    given: dict[str, Any] = {
        "source": body.source,
        "sentences": body.sentences,
        "prompt": body.prompt,
        "truncate": bool(body.truncate),
    }
    if body.inputs is not None:
        how = body.parameters or Parameters()
        given = {
            "source": body.inputs.source_sentence,
            "sentences": body.inputs.sentences,
            "prompt": how.prompt_name,
            "truncate": bool(how.truncate),
        }
    return filled(SimilarityInput, **given)


def _answer(outcome: Outcome, *, bare: bool) -> Any:
    (artifact,) = outcome.artifacts
    result = msgspec.json.decode(artifact.data or b"", type=SimilarityResult)
    if bare:
        return result.scores
    return {"model": outcome.prepared.entry.name, "scores": result.scores, "usage": result.usage}
