"""Speech of servers that speak OpenAI's language: read aloud, and written down."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Mapping
from typing import Any

from onebox.audio.languages import code_of
from onebox.audio.synthesis.voices import DEFAULT_VOICE
from onebox.core.audio_types import AUDIO_TYPES
from onebox.core.errors import InvalidInput
from onebox.core.results import Artifact
from onebox.services.upstreams.adapter import Ask, json_artifact
from onebox.services.upstreams.connection import Answer, Call, Connection
from onebox.services.upstreams.failures import broken_off

# The name that every server knows which knows OpenAI's.
USUAL_VOICE = "alloy"
SEED_HEADER = "x-onebox-seed"
PCM, WAV = "audio/pcm", "audio/wav"
PCM_RATE, SAMPLE_BYTES = 16_000, 2
# Of one sound; more than any limit lets in.
MAX_SECONDS = 10_000_000.0
NO_USAGE = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
SEGMENT = {
    "seek": 0,
    "tokens": [],
    "temperature": 0.0,
    "avg_logprob": 0.0,
    "compression_ratio": 1.0,
    "no_speech_prob": 0.0,
}


async def speak(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    ask.refuse_all_but("input", "voice", "response_format", "speed", "seed", "stream")
    given = ask.input
    voice = given["voice"]
    body = {
        "model": ask.model,
        "input": given["input"],
        "voice": USUAL_VOICE if voice == DEFAULT_VOICE else voice,
        "response_format": given["response_format"],
        **{name: ask.given[name] for name in ("speed", "seed") if name in ask.given},
        **ask.parameters,
    }
    return await sound(ask, connection, Call(path, json=body))


async def sound(ask: Ask, connection: Connection, call: Call) -> tuple[Artifact, ...]:
    """What `speech` gives, of an answer that is a file of sound."""
    parts: list[bytes] = []
    async with connection.pieces(call) as (head, pieces):
        kind = head.get("content-type", "").partition(";")[0].strip().lower()
        if not kind.startswith("audio/") and kind != "application/octet-stream":
            raise connection.useless("no sound")
        async for piece in pieces:
            if ask.input["stream"]:
                ask.tell({"data": piece})
            else:
                parts.append(piece)
        seed = head.get(SEED_HEADER, "")
    told = {"seed": int(seed) if seed.isdecimal() else ask.input["seed"]}
    if ask.input["stream"]:
        return json_artifact({**told, "usage": NO_USAGE})
    media_type = AUDIO_TYPES[ask.input["response_format"]]
    return (Artifact(media_type, b"".join(parts), None, told),)


async def transcribe(ask: Ask, connection: Connection, path: str) -> tuple[Artifact, ...]:
    """`path` has a place for the last part of it."""
    given = ask.input
    ask.refuse_all_but(
        *("file", "language", "translate", "prompt", "temperature", "timestamps", "words"),
        *("logprobs", "seed", "max_seconds", "vad"),
    )
    timed = given["timestamps"] or given["words"]
    if timed and given["logprobs"]:
        raise InvalidInput(
            "times and log-probabilities cannot be had together from another server",
            param="logprobs",
        )
    fields = _form(ask, "verbose_json" if timed else "json")
    files = [("file", sound_file(given["file"]))]
    if not ask.whole and not timed and not given["translate"]:
        call = Call(path.format("transcriptions"), fields={**fields, "stream": "true"}, files=files)
        return await _streamed(ask, connection, call)
    last = "translations" if given["translate"] else "transcriptions"
    answer = await connection.whole(Call(path.format(last), fields=fields, files=files))
    return transcript(_told(answer, connection), connection, ask)


def transcript(told: Any, connection: Connection, ask: Ask) -> tuple[Artifact, ...]:
    """The result of the task, of an answer as OpenAI gives it."""
    if not isinstance(told, dict) or not isinstance(told.get("text"), str):
        raise connection.useless("no text")
    segments = told.get("segments") or []
    try:
        told_segments = [_segment(one, place) for place, one in enumerate(segments)]
        end_s = max((one["end"] for one in told_segments), default=0.0)
        value = {
            "text": told["text"],
            "language": _language(told),
            "duration": _length(told.get("duration") or _seconds(told) or end_s),
            "segments": told_segments,
            "words": told.get("words") or [] if ask.input["words"] else None,
            "logprobs": told.get("logprobs") or [] if ask.input["logprobs"] else None,
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        raise connection.useless("a transcript of another form") from None
    return json_artifact(value)


def sound_file(media: Mapping[str, Any]) -> tuple[str, bytes, str]:
    """As a part of a form; bare samples get the head that other servers need."""
    data, media_type = media["data"], media["media_type"].partition(";")[0].strip().lower()
    if media_type == PCM:
        return "sound.wav", wav_head(len(data)) + data, WAV
    ending = media_type.rpartition("/")[2]
    # Servers go by the ending.
    known = {"mpeg": "mp3", "x-wav": "wav", "mp4": "m4a", "x-m4a": "m4a", "octet-stream": "wav"}
    return f"sound.{known.get(ending, ending) or 'wav'}", data, media_type


def wav_head(size: int) -> bytes:
    """Of samples at 16 kHz, mono, 16 bits."""
    rates = (1, 1, PCM_RATE, PCM_RATE * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, *rates)
    return (
        struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE")
        + form
        + struct.pack("<4sI", b"data", size)
    )


def _form(ask: Ask, form: str) -> dict[str, str | list[str]]:
    given = ask.given
    fields: dict[str, str | list[str]] = {"model": ask.model, "response_format": form}
    for name in ("language", "prompt", "temperature", "seed"):
        # A translation is into English whatever the language.
        if name in given and not (name == "language" and given.get("translate")):
            fields[name] = str(given[name])
    if form == "verbose_json" and not given.get("translate"):
        granularities = ["segment"] + (["word"] if ask.input["words"] else [])
        fields["timestamp_granularities[]"] = granularities
    if ask.input["logprobs"]:
        fields["include[]"] = ["logprobs"]
    return fields | {name: str(value) for name, value in ask.parameters.items()}


async def _streamed(ask: Ask, connection: Connection, call: Call) -> tuple[Artifact, ...]:
    done: Any = None
    segments: list[dict[str, Any]] = []
    async with contextlib.aclosing(connection.events(call)) as events:
        async for event in events:
            kind = event.get("type") if isinstance(event, dict) else None
            if kind == "transcript.text.delta":
                segment = _segment({**event, "text": event.get("delta") or ""}, len(segments))
                segments.append(segment)
                told = {"text": segment["text"], "segment": segment}
                ask.tell({**told, "logprobs": event["logprobs"]} if "logprobs" in event else told)
            elif kind == "transcript.text.done":
                done = event
            elif isinstance(event, dict) and (event.get("error") or kind == "error"):
                told_error = event.get("error") or event
                raise broken_off(connection.name, told_error, connection.secrets)
    if done is None:
        raise broken_off(connection.name, None, ())
    return transcript({**done, "segments": segments}, connection, ask)


def _told(answer: Answer, connection: Connection) -> Any:
    return connection.decoded(answer.data)


def _segment(told: Mapping[str, Any], place: int) -> dict[str, Any]:
    """With what a segment of ours has, where the other server does not tell it."""
    known = {name: told[name] for name in SEGMENT if told.get(name) is not None}
    times = {name: float(told.get(name) or 0.0) for name in ("start", "end")}
    return {"id": told.get("id", place), **SEGMENT, **known, **times, "text": str(told["text"])}


def _language(told: Mapping[str, Any]) -> str | None:
    """As a code. Some servers tell its English name, and some a list."""
    languages = told.get("languages") or []
    named = told.get("language") or (languages[0].get("code") if languages else None)
    try:
        return code_of(str(named)) if named else None
    except InvalidInput:
        return None


def _seconds(told: Mapping[str, Any]) -> float | None:
    seconds = (told.get("usage") or {}).get("seconds")
    return None if seconds is None else float(seconds)


def _length(seconds: Any) -> float:
    """It is charged for. Raises TypeError, ValueError."""
    length = float(seconds)
    if not 0 <= length <= MAX_SECONDS:
        raise ValueError("a transcript is of a sound with a length")
    return length
