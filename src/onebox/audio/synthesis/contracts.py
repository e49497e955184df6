"""What the task `speech` asks of a loaded voice, and what a checkpoint says about itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from onebox.core.contracts import RunContext
from onebox.core.errors import AppError


@dataclass(frozen=True, slots=True, eq=False)
class Say:
    """One sentence to be spoken.

    Attributes:
        text: what the model's own tokenizer takes: letters, or phonemes where it wants them.
        voice: id of one of the checkpoint's voices.
        speed: 1 is the voice's own; 2 is twice as fast.
        seed: of its random numbers; equal texts of equal seeds give equal samples when they are
            computed alone.
    """

    text: str
    voice: str
    speed: float
    seed: int


class Synthesizer(Protocol):
    """A loaded model that speaks. Used on its engine's thread alone."""

    size_bytes: int
    sampling_rate: int

    def synthesize(self, sentences: Sequence[Say], context: RunContext) -> list[Any | AppError]:
        """float32 numpy arrays [n], mono, within -1 and 1. Calls `context.hand_over()` between two
        sentences.
        """

    def close(self) -> None: ...
