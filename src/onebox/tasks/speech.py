"""Task `speech`: a text read aloud.

curl -s localhost:8000/v1/tasks/speech -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' -H 'Accept: audio/mpeg' \\
     -d '{"model": "joe-voice", "input": "Hello! It is 5 pm."}' -o hello.mp3
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from onebox.audio.synthesis.piecework import SpeechWork, Wanted
from onebox.audio.synthesis.text.frontend import speakable
from onebox.audio.synthesis.voices import DEFAULT_VOICE, default_names
from onebox.core.contracts import Device, Entry, RunContext, TaskDefaults
from onebox.core.errors import InvalidInput
from onebox.core.piecework import Piece, PieceTask, Piecework
from onebox.core.plugins import TASKS
from onebox.core.seeds import SEEDS, random_seed

MAX_CHARS = 4096
LISTED_VOICES = 20
# Working memory of one sentence, which the front end keeps short whatever the text: of the model,
# and of its sound. One of Piper's voices took 215 MiB for 9 s of sound, and 433 MiB for the same
# drawn out to 37 s.
SENTENCE_BYTES = 160 * 2**20
SOUND_BYTES = 160 * 2**20
# Of sound, for each character of the text: slow speech, and what numbers are in words.
SECONDS_PER_CHAR = 0.1
SAMPLE_BYTES = 4
CLASS_CHARS = 512


class SpeechInput(BaseModel):
    """What to say, and how."""

    input: str = Field(min_length=1, max_length=MAX_CHARS, description="The text, as it is read.")
    voice: str = Field(
        default=DEFAULT_VOICE,
        min_length=1,
        max_length=512,
        description="One of the checkpoint's; `default` and OpenAI's names mean its first.",
    )
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] = Field(
        default="mp3", description="`pcm` is 16 bits, little endian, mono, 24 kHz."
    )
    speed: float = Field(default=1.0, ge=0.25, le=4, allow_inf_nan=False)
    seed: int | None = Field(
        None,
        ge=0,
        lt=SEEDS,
        description="Sentence i uses seed + i; equal ones give equal sound. Random if left out.",
    )
    stream: bool = Field(default=False, description="Send the sound sentence by sentence.")


class Speech(PieceTask[SpeechInput]):
    name = "speech"
    summary = "Read a text aloud"
    Input = SpeechInput

    def resolve(self, request: SpeechInput, entry: Entry, defaults: TaskDefaults) -> SpeechInput:
        seed = random_seed() if request.seed is None else request.seed
        return request.model_copy(update={"seed": seed})

    def check(self, request: SpeechInput, entry: Entry) -> None:
        _voice(request.voice, entry)

    def reserve_bytes(self, request: SpeechInput, entry: Entry, device: Device) -> int:
        sentence = SENTENCE_BYTES + int(SOUND_BYTES / request.speed)
        if request.stream:
            return sentence
        seconds = len(request.input) * SECONDS_PER_CHAR / request.speed
        return sentence + int(seconds * entry.facts["sampling_rate"]) * SAMPLE_BYTES

    def size_class(self, request: SpeechInput) -> str:
        slowness = math.ceil(1 / request.speed)
        length = "streamed" if request.stream else str(len(request.input) // CLASS_CHARS)
        return f"{length} at 1/{slowness}"

    def prepare(
        self, request: SpeechInput, entry: Entry, read: Callable[[Any], bytes]
    ) -> Piecework:
        assert request.seed is not None
        voice = _voice(request.voice, entry)
        wanted = Wanted(
            voice=voice["id"],
            speed=request.speed,
            seed=request.seed,
            format=request.response_format,
            sampling_rate=entry.facts["sampling_rate"],
            stream=request.stream,
        )
        return SpeechWork(speakable(request.input, entry.facts, voice["language"]), wanted)

    def choose(self, pieces: Sequence[Piece], entry: Entry, device: Device) -> Sequence[Piece]:
        """One sentence: voices compute them one by one, so that equal seeds give equal sound under
        load, too; and between two of them others have their turn.
        """
        return pieces[:1]

    def compute(self, bundle: Any, pieces: Sequence[Piece], context: RunContext) -> list[Any]:
        return list(bundle.synthesizer.synthesize([piece.value.say for piece in pieces], context))


def _voice(asked: str, entry: Entry) -> dict[str, str]:
    """The one that is asked for by id, by name, or by a name that means the first one."""
    voices: list[dict[str, str]] = entry.facts["voices"]
    ids = [voice["id"] for voice in voices]
    if asked in ids:
        return voices[ids.index(asked)]
    named = [voice for voice in voices if voice["name"] == asked]
    if named:
        return named[0]
    if asked in default_names(ids):
        return voices[0]
    shown = ", ".join(ids[:LISTED_VOICES]) + (", …" if len(ids) > LISTED_VOICES else "")
    raise InvalidInput(
        f"{entry.name} has no voice {asked[:100]!r}; take one of {shown}, or 'default' "
        "(GET /v1/audio/voices lists all)",
        param="voice",
        details={"voices": ids[:LISTED_VOICES]},
    )


TASKS.register(Speech.name, Speech())
