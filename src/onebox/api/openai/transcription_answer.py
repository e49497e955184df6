"""What the task `transcription` gives, in the forms that OpenAI's clients read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import Response

from onebox.api.bodies import JSON
from onebox.api.sse import event
from onebox.audio.languages import name_of
from onebox.audio.transcripts import to_srt, to_vtt
from onebox.runtime.wire import Delta
from onebox.services.inference import Inference
from onebox.services.request import Outcome, Prepared

TEXT = "text/plain"
# Where nothing was said, for a field that must hold a text.
NO_LANGUAGE = "unknown"


@dataclass(frozen=True, slots=True)
class Form:
    """How a client wants it told.

    Attributes:
        name: OpenAI's `response_format`.
    """

    name: str
    segments: bool = True
    words: bool = False
    logprobs: bool = False
    translated: bool = False


class Segment(msgspec.Struct):
    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class Word(msgspec.Struct):
    word: str
    start: float
    end: float


class Logprob(msgspec.Struct):
    token: str
    bytes: list[int]
    logprob: float


class Transcript(msgspec.Struct):
    """The task's result. Times are in seconds of the file."""

    text: str
    duration: float
    segments: list[Segment]
    language: str | None = None
    words: list[Word] | None = None
    logprobs: list[Logprob] | None = None


def answer(outcome: Outcome, form: Form) -> Response:
    (artifact,) = outcome.artifacts
    found = msgspec.json.decode(artifact.data or b"", type=Transcript)
    match form.name:
        case "text":
            return _plain(f"{found.text}\n")
        case "srt":
            return _plain(to_srt(msgspec.to_builtins(found.segments)))
        case "vtt":
            return _plain(to_vtt(msgspec.to_builtins(found.segments)))
        case "verbose_json":
            return _json(_verbose(found, form))
    return _json({"text": found.text} if form.translated else _short(found, form))


async def told_events(
    inference: Inference, prepared: Prepared, form: Form
) -> AsyncGenerator[bytes, None]:
    """`transcript.text.delta` for each segment, then `transcript.text.done`. Closing it cancels."""
    async with contextlib.aclosing(inference.stream(prepared)) as events:
        async for item in events:
            match item:
                case Delta():
                    yield _event({"type": "transcript.text.delta", **_delta(item.data)})
                case Outcome():
                    (artifact,) = item.artifacts
                    found = msgspec.json.decode(artifact.data or b"", type=Transcript)
                    yield _event({"type": "transcript.text.done", **_short(found, form)})


def _delta(data: dict[str, Any]) -> dict[str, Any]:
    """`start` and `end` are ours."""
    segment = data["segment"]
    told = {"delta": data["text"], "start": segment["start"], "end": segment["end"]}
    return {**told, "logprobs": data["logprobs"]} if "logprobs" in data else told


def _event(told: dict[str, Any]) -> bytes:
    return event(told["type"], told)


def _short(found: Transcript, form: Form) -> dict[str, Any]:
    told: dict[str, Any] = {"text": found.text, "usage": _usage(found)}
    told["languages"] = [{"code": found.language}] if found.language else []
    if form.logprobs:
        told["logprobs"] = found.logprobs or []
    return told


def _verbose(found: Transcript, form: Form) -> dict[str, Any]:
    """What was not asked for is left out."""
    language = "en" if form.translated else found.language
    told: dict[str, Any] = {
        "task": "translate" if form.translated else "transcribe",
        "language": name_of(language) if language else NO_LANGUAGE,
        "duration": found.duration,
        "text": found.text,
        "usage": _usage(found),
    }
    if form.segments:
        told["segments"] = found.segments
    if form.words:
        told["words"] = found.words or []
    return told


def _usage(found: Transcript) -> dict[str, Any]:
    return {"type": "duration", "seconds": found.duration}


def _plain(text: str) -> Response:
    return Response(text, media_type=TEXT)


def _json(told: dict[str, Any]) -> Response:
    return Response(msgspec.json.encode(told), media_type=JSON)
