"""`POST /api/tts` and `/api/stt`: adapters over the tasks `speech` and `transcription`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import filled, json_body, read_json
from onebox.api.compat.asking import MODEL, file_answer, file_response, json_answer, run
from onebox.api.compat.routing import StudioRoute
from onebox.api.forms import form_body, read_form
from onebox.api.openai.transcription_answer import Segment, Transcript
from onebox.core.audio_types import AUDIO_TYPES
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.tasks.speech import MAX_CHARS, SpeechInput
from onebox.tasks.transcription import TranscriptionInput

WAV = AUDIO_TYPES["wav"]


class TtsRequest(BaseModel):
    """null is the same as left out."""

    model_config = ConfigDict(extra="forbid")

    text: str = Field(min_length=1, max_length=MAX_CHARS)
    model: str | None = MODEL
    speaker_id: str | None = Field(
        default=None,
        min_length=1,
        max_length=512,
        description="One of `GET /v1/audio/voices`; by default the model's first one.",
    )
    speed: float | None = Field(default=None, ge=0.25, le=4, allow_inf_nan=False)


class SttForm(BaseModel):
    model_config = ConfigDict(extra="forbid")

    audio: MediaRef
    model: str | None = MODEL
    language: str | None = Field(
        default=None, max_length=40, description="A code or an English name; else it is found out."
    )


class SttAnswer(BaseModel):
    text: str
    language: str | None
    confidence: float | None = Field(
        description="From 0 to 1: how likely the model took its words to be; null for no words."
    )
    model: str


def create_router() -> APIRouter:
    router = APIRouter(route_class=StudioRoute, tags=["compat"])
    router.add_api_route(
        "/api/tts",
        speak,
        methods=["POST"],
        operation_id="studio_tts",
        summary="A text as speech",
        response_class=Response,
        responses=file_response(WAV, "The speech."),
        openapi_extra=json_body(TtsRequest),
    )
    router.add_api_route(
        "/api/stt",
        transcribe,
        methods=["POST"],
        operation_id="studio_stt",
        summary="The text of speech",
        response_class=Response,
        responses={200: {"model": SttAnswer}},
        openapi_extra=form_body(SttForm),
    )
    return router


async def speak(request: Request) -> Response:
    body = await read_json(request, TtsRequest)
    named = {"voice": body.speaker_id, "speed": body.speed}
    given = {name: value for name, value in named.items() if value is not None}
    task_input = filled(SpeechInput, input=body.text, response_format="wav", **given)
    (sound,) = (await run(request, "speech", task_input, body.model)).artifacts
    return file_answer(sound.data or b"", WAV, "speech.wav")


async def transcribe(request: Request) -> Response:
    body = await read_form(request, SttForm)
    if not body.audio.data:
        raise InvalidInput("the file in audio is empty", param="audio")
    task_input = filled(TranscriptionInput, file=body.audio, language=body.language)
    outcome = await run(request, "transcription", task_input, body.model)
    (artifact,) = outcome.artifacts
    found = msgspec.json.decode(artifact.data or b"", type=Transcript)
    told = {
        "text": found.text,
        "language": found.language,
        "confidence": _confidence(found.segments),
        "model": outcome.prepared.entry.name,
    }
    return json_answer(told)


def _confidence(segments: Sequence[Segment]) -> float | None:
    """The mean likelihood of a token."""
    tokens = sum(len(segment.tokens) for segment in segments)
    if not tokens:
        return None
    total = sum(segment.avg_logprob * len(segment.tokens) for segment in segments)
    return round(min(math.exp(total / tokens), 1.0), 4)
