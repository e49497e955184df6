"""`POST /v1/embeddings`: OpenAI's route to vectors. An adapter over the task `embeddings`.

Its requests and answers may be megabytes of numbers: neither becomes Python values here in one go,
for nothing else is served meanwhile.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from onebox.api.bodies import JSON, json_body
from onebox.api.body_size import QUICK_BYTES
from onebox.api.errors import located
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import OpenAIRoute
from onebox.api.token_usage import TokenUsage
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.language.messages import MAX_TEXT
from onebox.tasks.embeddings import EmbeddingsInput

MAX_INPUTS = 2048
# Of items; a list of numbers is one item.
LIST = re.compile(rb"\[(?!\s*[-0-9])")

TokenId = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]
Inputs = str | list[str] | list[int] | list[list[int]]

_item = msgspec.json.Decoder(str | list[TokenId])
_token_id = msgspec.json.Decoder(TokenId)
_items = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _read_inputs(raw: msgspec.Raw) -> list[str | list[int]]:
    """A text, texts, token ids, or lists of those: always as a list of items."""
    if not LIST.match(memoryview(raw)):
        return [_read_one(raw)]
    items = _items.decode(raw)
    if not 1 <= len(items) <= MAX_INPUTS:
        raise InvalidInput(
            f"input has {len(items)} items; it must have 1 to {MAX_INPUTS}",
            param="input",
            details={"min": 1, "max": MAX_INPUTS, "received": len(items)},
        )
    return [_read_item(item, index) for index, item in enumerate(items)]


def _read_one(raw: msgspec.Raw) -> str | list[int]:
    """The only text, or its tokens."""
    try:
        return _read_item(raw, None)
    except InvalidInput as error:
        raise _bad_token(raw) or error from None


def _bad_token(raw: msgspec.Raw) -> InvalidInput | None:
    if bytes(memoryview(raw)[:1]) != b"[":
        return None
    for index, item in enumerate(_items.decode(raw)):
        try:
            _token_id.decode(item)
        except msgspec.ValidationError:
            return _refusal("must be a token id, for the list begins with a number", index)
    return None


def _read_item(raw: msgspec.Raw, index: int | None) -> str | list[int]:
    try:
        item: str | list[int] = _item.decode(raw)
    except (msgspec.ValidationError, RecursionError):
        raise _refusal("must be a text or a list of token ids", index) from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _refusal("is not valid Unicode", index) from None
    if not item:
        raise _refusal("must not be empty", index)
    if isinstance(item, str) and len(item) > MAX_TEXT:
        raise _refusal(f"has {len(item)} characters, more than {MAX_TEXT}", index)
    return item


def _refusal(problem: str, index: int | None) -> InvalidInput:
    if index is None:
        return InvalidInput(f"input {problem}", param="input")
    return InvalidInput(f"input[{index}] {problem}", param="input", details={"index": index})


class EmbeddingsRequest(RequestOptions):
    """OpenAI's fields, and ours (`truncate`, `prompt`, `timeout_s`, `priority`) through
    `extra_body`. null is the same as left out. `user` is accepted, without effect.
    """

    model_config = ConfigDict(extra="forbid")

    input: Annotated[list[Any], BeforeValidator(_read_inputs, Inputs)] = Field(
        description=f"At most {MAX_INPUTS} items, none of them empty."
    )
    model: str | None = Field(None, max_length=512)
    dimensions: int | None = Field(
        None, ge=1, lt=2**31, description="The vector's first ones, made one long again."
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="Default `float`; `base64` is of float32, little endian."
    )
    user: Any = None
    truncate: bool | None = Field(
        None, description="Cut what is too long for the model, instead of refusing it."
    )
    prompt: str | None = Field(
        None, max_length=256, description="Name of one of the model's prompts, put before texts."
    )


class Embedding(BaseModel):
    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class EmbeddingsResponse(BaseModel):
    object: Literal["list"]
    model: str
    data: list[Embedding]
    usage: TokenUsage


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/embeddings",
        embed,
        methods=["POST"],
        summary="Texts as vectors, as OpenAI's clients ask for them",
        response_class=Response,
        responses={200: {"model": EmbeddingsResponse}},
        openapi_extra=json_body(EmbeddingsRequest),
    )
    return router


async def embed(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await _read(request)
    prepared = await services.inference.prepare(
        "embeddings",
        _input(body),
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )
    (artifact,) = (await services.inference.run(prepared)).artifacts
    # The task's answer is an object with `data` and `usage`.
    head = b'{"object":"list","model":%b,' % msgspec.json.encode(prepared.entry.name)
    return Response(b"".join((head, memoryview(artifact.data or b"")[1:])), media_type=JSON)


async def _read(request: Request) -> EmbeddingsRequest:
    """Raises RequestValidationError as FastAPI does, or InvalidInput for an item."""
    body = await request.body()
    return _parse(body) if len(body) <= QUICK_BYTES else await asyncio.to_thread(_parse, body)


def _parse(body: bytes) -> EmbeddingsRequest:
    """Item by item: other threads get their turn in between."""
    try:
        raw = _fields.decode(body)
        fields = {
            name: value if name == "input" else msgspec.json.decode(value)
            for name, value in raw.items()
        }
    except msgspec.ValidationError:
        problem = {"type": "model_type", "loc": ("body",), "msg": "Input should be an object"}
        raise RequestValidationError([problem]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestValidationError([{"type": "json_invalid", "loc": ("body",)}]) from None
    try:
        return EmbeddingsRequest.model_validate(fields)
    except ValidationError as error:
        raise located(error, "body") from error


def _input(body: EmbeddingsRequest) -> EmbeddingsInput:
    names = ("dimensions", "encoding_format", "prompt", "truncate")
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    # Its items were looked at one by one; the worker does it again.
    return EmbeddingsInput.model_construct(inputs=body.input, **given)
