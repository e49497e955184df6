"""`POST /v1/tokenize` and `/v1/detokenize`: a text as a model's tokens, and back."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from onebox.api.bodies import JSON, filled
from onebox.api.deps import CallerDep, ServicesDep
from onebox.api.openai.chat_messages import Conversation, GivenMessage
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import Route
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.language.messages import MAX_MESSAGES, Text
from onebox.services.access.caller import Caller
from onebox.tasks.tokens import DetokenizeInput, TokenizeInput

router = APIRouter(route_class=Route, tags=["inference"])

MAX_IDS = 1_048_576

TokenId = Annotated[int, Field(ge=0, lt=2**31)]


class TokensRequest(RequestOptions, extra="forbid"):
    model: str | None = Field(
        None, max_length=512, description="SHA-256, prefix of it, name or alias."
    )


class TokenizeRequest(TokensRequest):
    """A text, or a conversation in OpenAI's form, which gets the model's chat format first."""

    text: Text | None = None
    messages: list[GivenMessage] | None = Field(None, min_length=1, max_length=MAX_MESSAGES)
    add_special_tokens: bool = True


class TokenizeResponse(BaseModel):
    tokens: list[int]
    count: int
    max_model_len: int = Field(description="Tokens that the model can take, answer included.")


class DetokenizeRequest(TokensRequest):
    tokens: list[TokenId] = Field(max_length=MAX_IDS)


class DetokenizeResponse(BaseModel):
    text: str


@router.post(
    "/v1/tokenize", summary="A text as tokens", responses={200: {"model": TokenizeResponse}}
)
async def tokenize(
    body: TokenizeRequest, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    messages = None
    if body.messages is not None:
        conversation = Conversation(body.messages)
        if conversation.images:
            raise InvalidInput("pictures cannot be counted as tokens here", param="messages")
        messages = conversation.messages
    task_input = filled(
        TokenizeInput,
        text=body.text,
        messages=messages,
        add_special_tokens=body.add_special_tokens,
    )
    return await _run("tokenize", task_input, body, request, services, caller)


@router.post(
    "/v1/detokenize", summary="Tokens as a text", responses={200: {"model": DetokenizeResponse}}
)
async def detokenize(
    body: DetokenizeRequest, request: Request, services: ServicesDep, caller: CallerDep
) -> Response:
    task_input = DetokenizeInput(tokens=body.tokens)
    return await _run("detokenize", task_input, body, request, services, caller)


async def _run(
    task: str,
    task_input: BaseModel,
    body: TokensRequest,
    request: Request,
    services: Services,
    caller: Caller,
) -> Response:
    prepared = await services.inference.prepare(
        task, task_input, model=body.model, caller=caller, options=options_of(body, request)
    )
    (artifact,) = (await services.inference.run(prepared)).artifacts
    return Response(artifact.data, media_type=JSON)
