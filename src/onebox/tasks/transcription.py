"""Task `transcription`: the text of a recording, or what it means in English.

curl -s localhost:8000/v1/tasks/transcription -H "Authorization: Bearer $KEY" \\
     -F model=whisper-tiny.en -F file=@speech.mp3 -F words=true
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, Field, field_validator

from onebox.audio.decoding.options import VadOptions
from onebox.audio.languages import code_of, name_of
from onebox.audio.transcription.batches import choose_windows, reserve_bytes
from onebox.audio.transcription.piecework import AudioSource, TranscriptionWork, Wanted
from onebox.core.contracts import Device, Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.media import MediaRef
from onebox.core.piecework import Piece, PieceTask, Piecework
from onebox.core.plugins import TASKS
from onebox.core.seeds import SEEDS, random_seed

MAX_PAUSE_MS = 10_000


class TranscriptionInput(BaseModel):
    """What to write down. Everything left out is found out, or filled in from the checkpoint."""

    file: MediaRef = Field(
        description="Sound, or a video's; audio/pcm is 16 bits, little endian, mono, 16 kHz."
    )
    language: str | None = Field(
        None, max_length=40, description="Code or English name; found out if left out."
    )
    translate: bool = Field(default=False, description="Into English.")
    prompt: str = Field(
        default="",
        max_length=4000,
        description="Text that the speech might follow on, for names and style. Whisper uses it.",
    )
    temperature: float | None = Field(
        None, ge=0, le=1, allow_inf_nan=False, description="0: as the result's quality demands."
    )
    timestamps: bool | None = Field(
        default=None,
        description="False: one segment for each stretch of up to 30 s, which is quicker.",
    )
    words: bool = Field(default=False, description="The times of each word.")
    logprobs: bool = Field(default=False, description="The log-probability of each token.")
    seed: int | None = Field(None, ge=0, lt=SEEDS, description="Random if left out.")
    max_seconds: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Longer sound is refused; the server's own limit holds in any case.",
    )
    vad: VadOptions = Field(default_factory=VadOptions, description="How speech is found.")

    @field_validator("language")
    @classmethod
    def _code(cls, value: str | None) -> str | None:
        try:
            return code_of(value) if value and value.strip() else None
        except InvalidInput as error:
            raise ValueError(error.message) from error

    @field_validator("vad")
    @classmethod
    def _in_bounds(cls, value: VadOptions) -> VadOptions:
        if not 0 <= value.threshold <= 1:
            raise ValueError("threshold is a probability: from 0 to 1")
        pauses = (value.prefix_padding_ms, value.silence_duration_ms)
        if not all(0 <= pause <= MAX_PAUSE_MS for pause in pauses):
            raise ValueError(f"prefix_padding_ms and silence_duration_ms: from 0 to {MAX_PAUSE_MS}")
        return value


class Transcription(PieceTask[TranscriptionInput]):
    """
    Args:
        opener: looks into a file and gives its AudioSource; by default one that decodes it in a
            process of its own.
    """

    name = "transcription"
    summary = "Write down speech, or translate it into English"
    Input = TranscriptionInput
    # Each is decoded in a process of its own while it is under way.
    max_open = 8

    def __init__(self, opener: Callable[..., AudioSource] | None = None) -> None:
        self._opener = opener

    def resolve(
        self, request: TranscriptionInput, entry: Entry, defaults: TaskDefaults
    ) -> TranscriptionInput:
        own = entry.facts.get("timestamps", True)
        longest = defaults.max_audio_s
        filled = {
            "temperature": request.temperature or 0.0,
            "timestamps": own if request.timestamps is None else request.timestamps and own,
            "seed": random_seed() if request.seed is None else request.seed,
            "max_seconds": min(request.max_seconds or longest, longest),
        }
        return request.model_copy(update=filled)

    def check(self, request: TranscriptionInput, entry: Entry) -> None:
        _check_language(request, entry)
        if request.translate and not entry.facts.get("translates"):
            raise InvalidInput(
                f"{entry.name} does not translate; ask for a transcription, or take a "
                "multilingual Whisper",
                param="model",
            )
        if request.words and not entry.facts.get("words"):
            raise InvalidInput(
                f"{entry.name} cannot tell the times of words; ask for those of segments",
                param="words",
            )

    def reserve_bytes(self, request: TranscriptionInput, entry: Entry, device: Device) -> int:
        return reserve_bytes(entry, device)

    def size_class(self, request: TranscriptionInput) -> str:
        return "words" if request.words else "plain"

    def prepare(
        self, request: TranscriptionInput, entry: Entry, read: Callable[[Any], bytes]
    ) -> Piecework:
        opener = self._opener or _opener()
        source = opener(
            read(request.file),
            request.file.media_type,
            max_seconds=request.max_seconds,
            vad=request.vad,
            read=lambda: read(request.file),
        )
        languages = entry.facts.get("languages") or ()
        return TranscriptionWork(source, _wanted(request, entry), languages)

    def choose(self, pieces: Sequence[Piece], entry: Entry, device: Device) -> Sequence[Piece]:
        return choose_windows(pieces, entry, device)

    def compute(self, bundle: Any, pieces: Sequence[Piece], context: RunContext) -> list[Any]:
        windows = [piece.value.listen() for piece in pieces]
        if not context.lean:
            return list(bundle.transcriber.transcribe(windows, context))
        return [
            heard
            for window in windows
            for heard in bundle.transcriber.transcribe([window], context)
        ]


def _opener() -> Callable[..., AudioSource]:
    from onebox.audio.decoding.source import open_source

    return open_source


def _wanted(request: TranscriptionInput, entry: Entry) -> Wanted:
    assert request.temperature is not None
    assert request.timestamps is not None
    assert request.seed is not None
    return Wanted(
        language=request.language,
        task="translate" if request.translate else "transcribe",
        prompt=request.prompt,
        temperature=request.temperature,
        seed=request.seed,
        words=request.words,
        logprobs=request.logprobs,
        timestamps=request.timestamps,
        retries=entry.facts.get("retries", True),
    )


def _check_language(request: TranscriptionInput, entry: Entry) -> None:
    known = entry.facts.get("languages") or ()
    if request.language is None or not known or request.language in known:
        return
    shown = ", ".join(sorted(known)[:100])
    raise InvalidInput(
        f"{entry.name} does not know {name_of(request.language)} ({request.language}), only "
        f"{shown}; take another model, or leave the language out",
        param="language",
        details={"languages": sorted(known)},
    )


TASKS.register(Transcription.name, Transcription())
