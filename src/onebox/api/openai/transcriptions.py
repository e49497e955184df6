"""`POST /v1/audio/transcriptions` and `/v1/audio/translations`: OpenAI's routes for speech.

Adapters over the task `transcription`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from onebox.api.bodies import JSON, filled
from onebox.api.forms import form_body, read_form
from onebox.api.openai.transcription_answer import TEXT, Form, answer, told_events
from onebox.api.options import RequestOptions, options_of
from onebox.api.routing import OpenAIRoute
from onebox.api.sse import EVENT_STREAM, LONG_HEAD_S, EventStream
from onebox.audio.languages import code_of
from onebox.bootstrap import Services
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.seeds import SEEDS
from onebox.services.request import Prepared
from onebox.tasks.transcription import TranscriptionInput

PCM = "audio/pcm"
PCM_FORMS = frozenset({"", "rate=16000"})
MAX_PROMPT_CHARS = 4000
# Forms that tell when each segment was said.
TIMED = ("verbose_json", "srt", "vtt")
# They would change what comes back, and this server does not do them.
REFUSED = ("known_speaker_names", "known_speaker_references")

Short = Annotated[str, Field(max_length=100)]
Pause = Annotated[int, Field(ge=0, le=10_000)]


def _strategy(value: Any) -> Any:
    """ "auto" is what happens anyway; otherwise an object, perhaps as JSON."""
    if value is None or value == "auto":
        return None
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = None
    if not isinstance(value, dict):
        raise ValueError('expected auto, or an object such as {"type": "server_vad"}')
    return value


class ServerVad(BaseModel):
    """What is left out is as the task has it."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"]
    threshold: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    prefix_padding_ms: Pause | None = None
    silence_duration_ms: Pause | None = None


class SpeechForm(RequestOptions):
    """What both routes take."""

    model_config = ConfigDict(extra="forbid")

    file: MediaRef
    model: str | None = Field(None, max_length=512)
    prompt: str | None = Field(None, max_length=MAX_PROMPT_CHARS)
    temperature: float | None = Field(None, ge=0, le=1, allow_inf_nan=False)
    language: Short | None = Field(
        None, description="Of the speech: a code (`en`) or an English name; else it is found out."
    )
    seed: int | None = Field(None, ge=0, lt=SEEDS)


class TranslationForm(SpeechForm):
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"


class TranscriptionForm(SpeechForm):
    """OpenAI's fields, and ours (`seed`, `timeout_s`, `priority`) through `extra_body`. Lists are
    repeated fields, named with or without `[]`. `known_speaker_…` and the format `diarized_json`
    are refused: this server does not tell speakers apart.
    """

    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] = "json"
    stream: bool = False
    languages: list[Short] | None = Field(None, max_length=16)
    keywords: list[Short] | None = Field(None, max_length=200)
    timestamp_granularities: list[Literal["word", "segment"]] | None = Field(None, max_length=2)
    include: list[Literal["logprobs"]] | None = Field(None, max_length=1)
    chunking_strategy: Annotated[ServerVad | None, BeforeValidator(_strategy)] = Field(
        None, description="`auto`, or an object of the type `server_vad`, perhaps as JSON."
    )
    known_speaker_names: list[Any] | None = None
    known_speaker_references: list[Any] | None = None


def create_router() -> APIRouter:
    router = APIRouter(route_class=OpenAIRoute, tags=["openai"])
    router.add_api_route(
        "/v1/audio/transcriptions",
        transcribe,
        methods=["POST"],
        summary="The text of speech, as OpenAI's clients ask for it",
        response_class=Response,
        responses=_responses(EVENT_STREAM),
        openapi_extra=form_body(TranscriptionForm),
    )
    router.add_api_route(
        "/v1/audio/translations",
        translate,
        methods=["POST"],
        summary="The English text of speech in another language",
        response_class=Response,
        responses=_responses(),
        openapi_extra=form_body(TranslationForm),
    )
    return router


def _responses(*further: str) -> dict[int | str, dict[str, Any]]:
    content: dict[str, Any] = {media_type: {} for media_type in (JSON, TEXT, *further)}
    return {200: {"description": "By `response_format`.", "content": content}}


async def transcribe(request: Request) -> Response:
    body = await read_form(request, TranscriptionForm)
    _refuse(body)
    granularities = body.timestamp_granularities or ["segment"]
    form = Form(
        body.response_format,
        segments="segment" in granularities,
        words="word" in granularities,
        logprobs=bool(body.include),
    )
    task_input = filled(
        TranscriptionInput,
        file=_sound(body.file),
        language=_language(body),
        prompt=_prompt(body),
        temperature=body.temperature,
        timestamps=body.response_format in TIMED,
        words=form.words,
        logprobs=form.logprobs,
        seed=body.seed,
        **_vad(body),
    )
    services: Services = request.app.state.services
    prepared = await _prepare(services, task_input, body, request)
    if body.stream:
        events = told_events(services.inference, prepared, form)
        return EventStream(events, request, head_s=LONG_HEAD_S)
    return answer(await services.inference.run(prepared), form)


async def translate(request: Request) -> Response:
    body = await read_form(request, TranslationForm)
    task_input = filled(
        TranscriptionInput,
        file=_sound(body.file),
        language=code_of(body.language) if body.language else None,
        translate=True,
        prompt=body.prompt or "",
        temperature=body.temperature,
        timestamps=body.response_format in TIMED,
        seed=body.seed,
    )
    services: Services = request.app.state.services
    prepared = await _prepare(services, task_input, body, request)
    form = Form(body.response_format, translated=True)
    return answer(await services.inference.run(prepared), form)


async def _prepare(
    services: Services, task_input: TranscriptionInput, body: SpeechForm, request: Request
) -> Prepared:
    return await services.inference.prepare(
        "transcription",
        task_input,
        model=body.model,
        caller=request.state.caller,
        options=options_of(body, request),
    )


def _refuse(body: TranscriptionForm) -> None:
    for name in REFUSED:
        if getattr(body, name) is not None:
            raise InvalidInput(
                f"{name} is not supported: this server does not tell speakers apart", param=name
            )
    told = body.response_format
    if told == "diarized_json":
        raise InvalidInput(
            "diarized_json is not supported: this server does not tell speakers apart",
            param="response_format",
        )
    if body.timestamp_granularities and told != "verbose_json":
        raise InvalidInput(
            "timestamp_granularities needs response_format=verbose_json",
            param="timestamp_granularities",
        )
    if body.include and told != "json":
        raise InvalidInput("include=logprobs needs response_format=json", param="include")
    if body.stream and told not in ("json", "text"):
        raise InvalidInput(
            f"stream=true gives events with the text; it cannot be had as {told}",
            param="response_format",
        )


def _sound(file: MediaRef) -> MediaRef:
    """The file as it was sent. Its bytes alone say what it is, but for bare samples."""
    if not file.data:
        raise InvalidInput("the file is empty", param="file")
    kind, _, form = file.media_type.lower().partition(";")
    if kind.strip() != PCM:
        return file
    if form.replace(" ", "") not in PCM_FORMS:
        raise InvalidInput(
            f"{PCM} must be 16 kHz, mono, 16 bits, little-endian; send other samples as a wav file",
            param="file",
        )
    return MediaRef(media_type=PCM, data=file.data)


def _language(body: TranscriptionForm) -> str | None:
    """The one language that may be spoken; None: found out."""
    given = {code_of(name, param="languages") for name in body.languages or ()}
    if body.language:
        given.add(code_of(body.language))
    if len(given) > 1:
        raise InvalidInput(
            f"one language can be named, not {', '.join(sorted(given))}; name none to have it "
            "found out",
            param="languages",
        )
    return given.pop() if given else None


def _prompt(body: TranscriptionForm) -> str:
    """The keywords are last: of a prompt that is too long a model takes the end."""
    keywords = ", ".join(word.strip() for word in body.keywords or ())
    prompt = " ".join(filter(None, ((body.prompt or "").strip(), keywords)))
    if len(prompt) > MAX_PROMPT_CHARS:
        raise InvalidInput(
            f"prompt and keywords have {len(prompt)} characters together, at most "
            f"{MAX_PROMPT_CHARS} may be",
            param="keywords",
        )
    return prompt


def _vad(body: TranscriptionForm) -> dict[str, Any]:
    strategy = body.chunking_strategy
    if strategy is None:
        return {}
    return {"vad": strategy.model_dump(exclude={"type"}, exclude_none=True)}
