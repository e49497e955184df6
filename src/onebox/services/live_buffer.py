"""Sound of a live session that no final text covers yet, and the rule that tells what is final."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

SAMPLING_RATE = 16_000
SAMPLE_BYTES = 2
# After so long a pause what was said before it is final.
PAUSE_S = 0.7
# Of silence so much is kept: a word may begin in it.
TAIL_S = 0.5
# What is as long as this becomes final as far as it goes: models hear 30 seconds at once.
FULL_S = 25.0
# A phrase that ends so near to the end of the sound is likely cut off by it.
EDGE_S = 0.3
# A shorter step forward is none: the sound is given up instead.
LEAST_CUT_S = 1.0


class Phrase(msgspec.Struct):
    """Times are in seconds of the sound that was listened to."""

    text: str
    start: float
    end: float


class Heard(msgspec.Struct):
    """What of the task's result a session needs. `speech_end` is None where nobody spoke."""

    text: str = ""
    segments: list[Phrase] = []
    language: str | None = None
    speech_end: float | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What is final of what was heard, and how much of the sound is done with."""

    phrases: Sequence[Phrase]
    done_s: float


def settle(heard: Heard, length_s: float, *, to_the_end: bool) -> Settled:
    """What is final of sound of this length; `to_the_end`: all of it."""
    phrases = heard.segments
    if to_the_end:
        return Settled(phrases, length_s)
    if heard.speech_end is None and not phrases:
        return Settled((), max(0.0, length_s - TAIL_S))
    # The last pause counts: who listens late finds one that is over already.
    for count, begin, end in reversed(list(_silences(heard, length_s))):
        if end - begin >= PAUSE_S:
            return Settled(phrases[:count], end - TAIL_S)
    if length_s < FULL_S:
        return Settled((), 0.0)
    if len(phrases) > 1 and phrases[-1].end > length_s - EDGE_S:
        phrases = phrases[:-1]
    done_s = phrases[-1].end if phrases else 0.0
    return Settled(phrases, done_s if done_s >= LEAST_CUT_S else length_s)


def _silences(heard: Heard, length_s: float) -> Iterator[tuple[int, float, float]]:
    """The phrases before each, its begin and its end; the last one is at the end of the sound."""
    phrases = heard.segments
    for index, phrase in enumerate(phrases[1:]):
        yield index + 1, phrases[index].end, phrase.start
    yield len(phrases), max([heard.speech_end or 0.0, *(p.end for p in phrases[-1:])]), length_s


class LiveBuffer:
    """16-bit samples. Places are counted in samples from the session's first one."""

    __slots__ = ("_data", "start")

    def __init__(self) -> None:
        self._data = bytearray()
        self.start = 0

    @property
    def end(self) -> int:
        return self.start + len(self._data) // SAMPLE_BYTES

    def add(self, data: bytes) -> None:
        """Samples, or part of one: the rest of it comes first next time."""
        self._data += data

    def until(self, place: int) -> bytes:
        return bytes(self._data[: (place - self.start) * SAMPLE_BYTES])

    def drop(self, samples: int) -> None:
        samples = min(samples, self.end - self.start)
        del self._data[: samples * SAMPLE_BYTES]
        self.start += samples
