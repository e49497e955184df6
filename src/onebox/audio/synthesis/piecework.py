"""`SpeechWork`: one text on its way from sentences to sound.

Sentences are spoken in any order; what became of them goes out in the order of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.audio.synthesis.contracts import Say
from onebox.audio.synthesis.text.frontend import Sentence
from onebox.core.contracts import RunContext
from onebox.core.errors import InvalidInput
from onebox.core.piecework import Piece, Piecework
from onebox.core.results import Output
from onebox.core.seeds import seed_of

# Of all sentences at a speed of 1: half an hour. A figure or a sign may be many words, and what
# nobody reads stays in memory.
MAX_SYMBOLS = 32_768


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, as plain values.

    Attributes:
        voice: id of one of the checkpoint's voices.
        seed: sentence i uses seed + i.
        stream: the sound goes out sentence by sentence.
    """

    voice: str
    speed: float
    seed: int
    format: str
    sampling_rate: int
    stream: bool


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """What a piece is about.

    Attributes:
        index: counted from 0 in the order of the text.
        pause_s: silence to follow it.
    """

    index: int
    say: Say
    pause_s: float


class SpeechWork(Piecework):
    """
    Args:
        sentences: in the order of the text; one at least.

    Raises InvalidInput when the sound would be endless.
    """

    def __init__(self, sentences: Sequence[Sentence], wanted: Wanted) -> None:
        self._wanted = wanted
        self._pieces = [
            Piece("sentence", len(spoken.say.text), spoken) for spoken in _spoken(sentences, wanted)
        ]
        self._symbols = sum(piece.size for piece in self._pieces)
        _require_time(self._symbols, wanted.speed)
        self._total = len(self._pieces)
        self._waiting: dict[int, Any] = {}
        self._next = 0
        self._kept: list[Any] = []
        self._samples = 0
        self._context: RunContext | None = None

    def start(self, context: RunContext, wake: Callable[[], None]) -> None:
        self._context = context

    def ready(self, most: int) -> Sequence[Piece]:
        return self._pieces[:most]

    def accept(self, piece: Piece, result: Any) -> None:
        """`result` is float32 samples [n]."""
        self._pieces.remove(piece)
        spoken: Spoken = piece.value
        self._waiting[spoken.index] = self._with_pause(result, spoken.pause_s)
        while (samples := self._waiting.pop(self._next, None)) is not None:
            self._next += 1
            self._send(samples)

    @property
    def done(self) -> bool:
        return not self._pieces

    def outputs(self) -> list[Output]:
        told = {"seed": self._wanted.seed, "duration": self._duration_s}
        if self._wanted.stream:
            # Symbols are what the model reads; of what it makes, nothing is a token.
            usage = {
                "input_tokens": self._symbols,
                "output_tokens": 0,
                "total_tokens": self._symbols,
            }
            return [Output("json", {**told, "usage": usage})]
        import numpy as np

        meta = {**told, "sampling_rate": self._wanted.sampling_rate}
        return [Output("audio", np.concatenate(self._kept), self._options, meta)]

    @property
    def _duration_s(self) -> float:
        return round(self._samples / self._wanted.sampling_rate, 3)

    @property
    def _options(self) -> dict[str, Any]:
        return {"format": self._wanted.format, "sampling_rate": self._wanted.sampling_rate}

    def _with_pause(self, samples: Any, pause_s: float) -> Any:
        import numpy as np

        count = round(pause_s / self._wanted.speed * self._wanted.sampling_rate)
        return np.concatenate([samples, np.zeros(count, np.float32)])

    def _send(self, samples: Any) -> None:
        assert self._context is not None
        self._samples += len(samples)
        if self._wanted.stream:
            self._context.part(Output("audio", samples, self._options))
        else:
            self._kept.append(samples)
        self._context.step(self._next, self._total)


def _spoken(sentences: Sequence[Sentence], wanted: Wanted) -> list[Spoken]:
    """No silence follows the last one."""
    last = len(sentences) - 1
    return [
        Spoken(
            index,
            Say(sentence.text, wanted.voice, wanted.speed, seed_of(wanted.seed, index)),
            sentence.pause_s if index < last else 0.0,
        )
        for index, sentence in enumerate(sentences)
    ]


def _require_time(symbols: int, speed: float) -> None:
    most = int(MAX_SYMBOLS * speed)
    if symbols > most:
        raise InvalidInput(
            f"read out, with its figures and signs as words, the text has {symbols} letters, and "
            f"{most} are the most at speed {speed:g}; send it in parts",
            param="input",
            details={"symbols": symbols, "max_symbols": most},
        )
