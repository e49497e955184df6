"""Where speech is cut into windows: arithmetic over frames of 32 ms, told to it as they come.

Neighbouring stretches of speech are joined while they fit one window, for fewer, fuller windows
are faster and heard better; a long pause always ends a window.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from onebox.audio.decoding.options import VadOptions
from onebox.audio.windows import MAX_SAMPLES, SAMPLING_RATE

FRAME = 512
MAX_FRAMES = MAX_SAMPLES // FRAME
# Silence from here on is not carried along inside a window (2 s).
_CLEAR_PAUSE = 2 * SAMPLING_RATE // FRAME
# A click is no speech: frames at or above the threshold that make a stretch (96 ms).
_SHORTEST = 3
# Speech goes on until its probability is this far below the threshold.
_HYSTERESIS = 0.15
# A pause is looked for in the last half of a full window, the quietest frame in its last third.
_LAST_HALF, _LAST_THIRD = MAX_FRAMES // 2, MAX_FRAMES * 2 // 3
# How many decibels a frame that is surely speech counts as louder than one that surely is not.
_DECIBELS = 20.0


@dataclass(frozen=True, slots=True)
class Cut:
    """A window, in frames from the beginning of the file; `speech` lies within it."""

    start: int
    end: int
    speech: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Speech from `start` to `end`, `sure` frames of it at or above the threshold."""

    start: int
    end: int
    sure: int


class Cutter:
    """Takes each frame's probability of speech and loudness, gives windows.

    With no options all is speech, and full windows are cut at the quietest place.
    """

    def __init__(self, options: VadOptions | None) -> None:
        vad = options or VadOptions(threshold=0.0, prefix_padding_ms=0)
        self._threshold = vad.threshold
        self._low = max(0.0, vad.threshold - _HYSTERESIS)
        self._padding = _frames(vad.prefix_padding_ms)
        self._pause = max(1, _frames(vad.silence_duration_ms))
        self._shortest = _SHORTEST if options else 1
        self._done = 0  # No window may begin before this frame.
        self._count = 0
        self._stretches: list[_Stretch] = []
        self._open: _Stretch | None = None
        self._loudness: list[float] = []  # Of the frames from _heard_from on.
        self._heard_from = 0

    @property
    def kept_from(self) -> int:
        """The first frame that may still become part of a window."""
        return self._start() if self._began() else max(self._done, self._count - self._padding)

    def add(self, probabilities: Sequence[float], decibels: Sequence[float]) -> list[Cut]:
        """The next frames. Gives the windows that are complete."""
        cuts: list[Cut] = []
        for probability, loudness in zip(probabilities, decibels, strict=True):
            self._loudness.append(loudness + _DECIBELS * probability)
            self._hear(probability)
            if (cut := self._complete()) is not None:
                cuts.append(cut)
        self._forget()
        return cuts

    def end(self) -> list[Cut]:
        """The last window, if there is one more."""
        self._finish_stretch()
        return [self._emit(self._count)] if self._stretches else []

    def _hear(self, probability: float) -> None:
        at = self._count
        self._count += 1
        if self._open is None:
            if probability >= self._threshold:
                self._open = _Stretch(at, at + 1, 1)
            return
        if probability >= self._low:
            sure = self._open.sure + (probability >= self._threshold)
            self._open = _Stretch(self._open.start, at + 1, sure)
        elif self._count - self._open.end >= self._pause:
            self._finish_stretch()

    def _finish_stretch(self) -> None:
        if self._open is not None and self._open.sure >= self._shortest:
            self._stretches.append(self._open)
        self._open = None

    def _complete(self) -> Cut | None:
        if not self._began():
            return None
        if self._count - self._start() >= MAX_FRAMES:
            return self._cut_full()
        if self._open is None and self._count - self._stretches[-1].end >= _CLEAR_PAUSE:
            return self._emit(self._count)
        return None

    def _cut_full(self) -> Cut:
        """Thirty seconds have come together."""
        if self._open is None:
            return self._emit(self._count)
        if self._stretches:
            return self._cut_at_pause(self._open)
        return self._cut_through(self._open)

    def _cut_at_pause(self, current: _Stretch) -> Cut:
        """At the longest pause in the last half; or else at the last one."""
        runs = [*self._stretches, current]
        first = self._start() + _LAST_HALF
        pauses = [(after.start - before.end, n) for n, (before, after) in enumerate(pairwise(runs))]
        late = [pause for pause in pauses if runs[pause[1]].end >= first]
        at = max(late)[1] if late else pauses[-1][1]
        before, after = runs[at], runs[at + 1]
        self._stretches = runs[: at + 1]
        cut = self._emit((before.end + after.start) // 2)
        self._stretches = runs[at + 1 : -1]
        return cut

    def _cut_through(self, current: _Stretch) -> Cut:
        """Someone speaks on and on: at the quietest place of the last third."""
        start = self._start()
        place = min(range(start + _LAST_THIRD, self._count), key=self._around)
        self._open = None
        self._stretches = [replace(current, end=min(place, current.end))]
        cut = self._emit(place)
        if place < current.end:
            self._open = replace(current, start=place)
        return cut

    def _around(self, frame: int) -> float:
        """How loud it is about this frame (three frames, 96 ms)."""
        at = frame - self._heard_from
        near = self._loudness[max(0, at - 1) : at + 2]
        return sum(near) / len(near)

    def _emit(self, until: int) -> Cut:
        """What has come together becomes a window that ends at `until` or soon after speech."""
        start = self._start()
        end = min(self._stretches[-1].end + self._padding, until, start + MAX_FRAMES)
        speech = tuple((max(run.start, start), min(run.end, end)) for run in self._stretches)
        self._stretches = []
        self._done = end
        return Cut(start, end, tuple(run for run in speech if run[0] < run[1]))

    def _began(self) -> bool:
        return self._open is not None or bool(self._stretches)

    def _start(self) -> int:
        first = self._stretches[0] if self._stretches else self._open
        assert first is not None
        return max(self._done, first.start - self._padding)

    def _forget(self) -> None:
        keep = self.kept_from
        del self._loudness[: keep - self._heard_from]
        self._heard_from = max(self._heard_from, keep)


def _frames(milliseconds: int) -> int:
    return milliseconds * SAMPLING_RATE // 1000 // FRAME
