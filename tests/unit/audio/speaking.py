"""A source and a model that are small enough to see through: nothing is decoded or heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onebox.audio.transcription.contracts import Heard, HeardSegment, HeardToken, HeardWord, Listen
from onebox.audio.transcription.piecework import TranscriptionWork, Wanted
from onebox.audio.windows import SAMPLING_RATE, Window


def window(index: int = 0, start_s: float = 0.0, length_s: float = 10.0, *speech: Any) -> Window:
    return Window(index, start_s, range(int(length_s * SAMPLING_RATE)), speech)


def in_a_row(count: int, length_s: float = 10.0) -> list[Window]:
    return [window(index, index * length_s, length_s) for index in range(count)]


def heard(
    *segments: tuple[float, float, str],
    language: str = "en",
    avg_logprob: float = -0.2,
    no_speech_prob: float = 0.0,
    logprobs: Sequence[HeardToken] = (),
) -> Heard:
    """What a model made of segments (start, end, text); each word is a token of its own."""
    made = tuple(
        HeardSegment(start, end, text, tuple(range(len(text.split()))))
        for start, end, text in segments
    )
    return Heard(made, language, avg_logprob, no_speech_prob, tuple(logprobs))


def said(text: str, **changes: Any) -> Heard:
    return heard((0.0, 5.0, text), **changes)


def with_words(text: str, *times: tuple[float, float], start: float = 0.0, end: float = 5.0):
    words = tuple(
        HeardWord(f" {word}", *time) for word, time in zip(text.split(), times, strict=True)
    )
    return Heard((HeardSegment(start, end, text, (), words),), "en", -0.2, 0.0)


class FakeSource:
    """Windows that lie ready as far as `arrive` let them come."""

    def __init__(self, windows: Sequence[Window] = (), duration_s: float | None = None) -> None:
        self._windows = list(windows)
        self._arrived = len(self._windows)
        last = self._windows[-1] if self._windows else None
        self.duration_s = duration_s or (last.start_s + last.length_s if last else 0.0)
        self.seconds_decoded = self.duration_s
        self.error: Exception | None = None
        self.closed = 0
        self.wake: Callable[[], None] | None = None
        self.late_end = False

    @property
    def ended(self) -> bool:
        return self._arrived >= len(self._windows) and not self.late_end

    def hold_back(self, count: int) -> None:
        self._arrived = len(self._windows) - count

    def arrive(self) -> None:
        self._arrived = len(self._windows)
        assert self.wake is not None
        self.wake()

    def start(self, wake: Callable[[], None]) -> None:
        self.wake = wake

    def take(self, most: int) -> list[Window]:
        if self.error is not None:
            raise self.error
        count = min(most, self._arrived)
        taken, self._windows = self._windows[:count], self._windows[count:]
        self._arrived -= count
        return taken

    def close(self) -> None:
        self.closed += 1


class FakeContext:
    """Keeps what was told. `stop` is raised by the next step."""

    lean = False

    def __init__(self) -> None:
        self.deltas: list[dict[str, Any]] = []
        self.steps: list[tuple[int, int]] = []
        self.stop: Exception | None = None

    def delta(self, data: dict[str, Any]) -> None:
        self.deltas.append(data)

    def step(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))
        if self.stop is not None:
            raise self.stop


def wanted(**changes: Any) -> Wanted:
    fields = {
        "language": "en",
        "task": "transcribe",
        "prompt": "",
        "temperature": 0.0,
        "seed": 7,
        "words": False,
        "logprobs": False,
    }
    return Wanted(**(fields | changes))


class Talk:
    """One file, heard by a function of what it is given, some pieces a round."""

    def __init__(self, source: FakeSource, languages: tuple[str, ...] = (), **changes: Any) -> None:
        self.source = source
        self.work = TranscriptionWork(source, wanted(**changes), languages)
        self.context: Any = FakeContext()
        self.listened: list[Listen] = []
        self.work.start(self.context, lambda: None)

    def round(self, hear: Callable[[Listen, int], Heard], most: int = 4, turn: bool = False):
        """`turn`: the last piece is accepted first."""
        pieces = list(self.work.ready(most))
        for piece in reversed(pieces) if turn else pieces:
            listen = piece.value.listen()
            self.listened.append(listen)
            self.work.accept(piece, hear(listen, piece.value.window.index))
        return pieces

    def all(self, hear: Callable[[Listen, int], Heard], **options: Any) -> dict[str, Any]:
        while not self.work.done:
            assert self.round(hear, **options), "it waits, and nothing comes"
        (output,) = self.work.outputs()
        return output.value

    @property
    def told(self) -> list[str]:
        return [delta["text"] for delta in self.context.deltas]


def number(listen: Listen, index: int) -> Heard:
    return said(f" word{index}.")
