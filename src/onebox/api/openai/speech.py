"""`POST /v1/audio/speech`: OpenAI's voice route. An adapter over the task `speech`."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import EVENT_STREAM, LONG_HEAD_S, EventStream, plain
from onebox.api.streaming import ByteStream
from onebox.bootstrap import Services
from onebox.core.audio_types import AUDIO_TYPES
from onebox.core.seeds import SEEDS, random_seed
from onebox.runtime.wire import Delta
from onebox.services.inference import Inference
from onebox.services.request import Outcome, Prepared
from onebox.tasks.speech import SpeechInput

MAX_CHARS = 4096


class VoiceId(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str


def _voice_name(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.keys() != {"id"}:
        raise ValueError("a voice is a name, or an object with `id`")
    return value["id"]


class SpeechRequest(RequestOptions):
    """OpenAI's fields, and ours (`seed`, `timeout_s`, `priority`) through `extra_body`. null is the
    same as left out.

    `instructions` are accepted, without effect: the voices of this server follow none.
    """

    model_config = ConfigDict(extra="forbid")

    input: str = Field(min_length=1, max_length=MAX_CHARS)
    model: str | None = Field(None, max_length=512)
    voice: Annotated[str | None, BeforeValidator(_voice_name, str | VoiceId | None)] = Field(
        None,
        min_length=1,
        max_length=512,
        description="One of `GET /v1/audio/voices`; `default` and OpenAI's names are the model's "
        "first one.",
    )
    instructions: str | None = Field(None, max_length=MAX_CHARS)
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = Field(
        None, description="Default `mp3`. `pcm` is 24 kHz, 16 bits, one channel, little endian."
    )
    speed: float | None = Field(None, ge=0.25, le=4, allow_inf_nan=False)
    stream_format: Literal["sse", "audio"] | None = Field(
        None, description="Default `audio`: the file itself, sent while it is made."
    )
    seed: int | None = Field(None, ge=0, lt=SEEDS, description="Random if left out.")


class Usage(msgspec.Struct):
    """Tokens."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechResult(msgspec.Struct):
    """What the task says when all was sent."""

    usage: Usage


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/audio/speech",
        speak,
        methods=["POST"],
        summary="A text as speech, as OpenAI's clients ask for it",
        response_class=Response,
        responses={
            200: {
                "description": "The sound, while it is made, or `speech.audio.delta` events with "
                "pieces of it in base64 and `speech.audio.done`.",
                "content": {
                    name: {"schema": {"type": "string", "format": "binary"}}
                    for name in AUDIO_TYPES.values()
                }
                | {EVENT_STREAM: {}},
            }
        },
        openapi_extra=json_body(SpeechRequest),
    )
    return router


async def speak(request: Request) -> Response:
    services: Services = request.app.state.services
    body = await read_json(request, SpeechRequest)
    prepared = await services.inference.prepare(
        "speech",
        _input(body),
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )
    if body.stream_format == "sse":
        events = _events(services.inference, prepared)
        return EventStream(events, request, failed=plain, head_s=LONG_HEAD_S)
    resolved: Any = prepared.input
    return ByteStream(
        _sound(services.inference, prepared),
        request,
        media_type=AUDIO_TYPES[body.response_format or "mp3"],
        headers={"X-Onebox-Seed": str(resolved.seed)},
    )


def _input(body: SpeechRequest) -> SpeechInput:
    seed = random_seed() if body.seed is None else body.seed
    names = ("voice", "response_format", "speed")
    given = {name: value for name in names if (value := getattr(body, name)) is not None}
    return filled(SpeechInput, input=body.input, seed=seed, stream=True, **given)


async def _sound(inference: Inference, prepared: Prepared) -> AsyncGenerator[bytes, None]:
    """The file as it is made. Closing it cancels."""
    async with contextlib.aclosing(inference.stream(prepared)) as events:
        async for item in events:
            if isinstance(item, Delta):
                yield item.data["data"]


async def _events(inference: Inference, prepared: Prepared) -> AsyncGenerator[bytes, None]:
    """The same in OpenAI's events. Closing it cancels."""
    async with contextlib.aclosing(inference.stream(prepared)) as events:
        async for item in events:
            match item:
                case Delta(data={"data": data}):
                    sound = base64.b64encode(data).decode()
                    yield plain({"type": "speech.audio.delta", "audio": sound})
                case Outcome():
                    (artifact,) = item.artifacts
                    result = msgspec.json.decode(artifact.data or b"", type=SpeechResult)
                    yield plain({"type": "speech.audio.done", "usage": result.usage})
