"""`Window`: a stretch of speech, cut at silence; what a file becomes before it is transcribed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SAMPLING_RATE = 16_000
MAX_WINDOW_S = 30
MAX_SAMPLES = MAX_WINDOW_S * SAMPLING_RATE
# Samples of 16 bits are divided by this to lie between -1 and 1.
FULL_SCALE = 2**15


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """At most MAX_WINDOW_S of sound with speech in it. Windows of one file do not overlap.

    Attributes:
        index: counted from 0 in the order of the file.
        start_s: where its first sample lies in the file.
        samples: int16 numpy array [n], mono, SAMPLING_RATE.
        speech: stretches with speech in them, in seconds from the window's first sample.
    """

    index: int
    start_s: float
    samples: Any
    speech: tuple[tuple[float, float], ...]

    @property
    def length_s(self) -> float:
        return len(self.samples) / SAMPLING_RATE
