"""What the task `transcription` asks of a loaded model, and what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from onebox.core.contracts import RunContext
from onebox.core.errors import AppError

SpeechTask = Literal["transcribe", "translate"]


@dataclass(frozen=True, slots=True, eq=False)
class Listen:
    """One window to be transcribed, once, at one temperature.

    Attributes:
        samples: int16 numpy array [n], mono, 16 kHz.
        language: two-letter code; None: found out by the model. Models of one language ignore it.
        task: "translate" is into English.
        prompt: text that the speech might follow on, for names and style; "" for none.
        seed: of the random numbers at temperatures above 0.
        timestamps: whether segments should get their times from the model.
        words: whether each word should have its times.
        logprobs: whether each token's log-probability is wanted.
    """

    samples: Any
    language: str | None = None
    task: SpeechTask = "transcribe"
    prompt: str = ""
    temperature: float = 0.0
    seed: int = 0
    timestamps: bool = True
    words: bool = False
    logprobs: bool = False


@dataclass(frozen=True, slots=True)
class HeardWord:
    """Times are in seconds from the window's first sample: 0 <= start <= end <= its length."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class HeardToken:
    text: str
    id: int
    logprob: float


@dataclass(frozen=True, slots=True)
class HeardSegment:
    """A phrase; segments of a window are in order and do not overlap.

    Attributes:
        text: with the space in front of it that joins it to the one before.
        tokens: the model's token ids of the text.
    """

    start_s: float
    end_s: float
    text: str
    tokens: tuple[int, ...] = ()
    words: tuple[HeardWord, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """What one window became.

    Attributes:
        segments: none where nothing was said.
        language: two-letter code.
        avg_logprob: mean natural logarithm of the probabilities of the tokens.
        no_speech_prob: how likely there is no speech at all; 0 where the model does not tell.
        logprobs: of each token of the text, if they were asked for.
    """

    segments: tuple[HeardSegment, ...]
    language: str
    avg_logprob: float
    no_speech_prob: float
    logprobs: tuple[HeardToken, ...] = ()


class Transcriber(Protocol):
    """A loaded model that hears. Used on its engine's thread alone."""

    size_bytes: int

    def transcribe(self, windows: Sequence[Listen], context: RunContext) -> list[Heard | AppError]:
        """All windows side by side. Between two steps it calls `context.hand_over()`."""

    def close(self) -> None: ...
