"""`TranscriptionWork`: one file on its way from decoded windows to a text.

Windows are heard in any order, some of them more than once; what became of them goes out in the
order of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from onebox.audio.transcription.contracts import Heard, Listen, SpeechTask
from onebox.audio.transcription.guards import (
    MAX_NO_SPEECH_PROB,
    Judged,
    agree,
    judge,
    without_loops,
)
from onebox.audio.transcription.parts import Part, as_one, rest_of, speech_s
from onebox.audio.transcription.timeline import LanguageVote, Placed, Timeline, speech_end
from onebox.audio.windows import Window
from onebox.core.contracts import RunContext
from onebox.core.piecework import Piece, Piecework
from onebox.core.results import Output
from onebox.core.seeds import seed_of

# Tried one after the other while the guards find fault with what was heard.
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Windows that one request has outside of its decoder: enough to fill a round, and some MB.
MAX_WAITING = 24
# Seconds of speech after which the language of the file is known.
LANGUAGE_S = 20.0


class AudioSource(Protocol):
    """A file that is being decoded in the background. Its own buffers are bounded."""

    @property
    def duration_s(self) -> float:
        """As the file's header tells it; 0 where it does not."""

    @property
    def ended(self) -> bool:
        """Whether no window will come but those that can be taken now."""

    @property
    def seconds_decoded(self) -> float: ...

    def start(self, wake: Callable[[], None]) -> None:
        """Begin. `wake` is called from another thread when windows came, and at the end."""

    def take(self, most: int) -> Sequence[Window]:
        """Up to so many windows, in their order. Does not wait. Raises what decoding ended in."""

    def close(self) -> None:
        """From any thread, and perhaps more than once."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for, as plain values.

    Attributes:
        language: None: to be found out.
        temperature: 0: greedy, and then as the guards demand; else this one alone.
        retries: whether the model can say anything else at another temperature.
    """

    language: str | None
    task: SpeechTask
    prompt: str
    temperature: float
    seed: int
    words: bool
    logprobs: bool
    timestamps: bool = True
    retries: bool = True


@dataclass(slots=True, eq=False)
class Try:
    """A window that waits to be heard; what a piece is about.

    Attributes:
        parts: what is known of the window that this is the rest of.
    """

    window: Window
    work: TranscriptionWork
    attempt: int = 0
    best: tuple[Judged, Heard, float] | None = None
    parts: list[Part] = field(default_factory=list)

    def listen(self) -> Listen:
        """As late as it can be: the language may have become known meanwhile."""
        return self.work.listen(self)

    def add(self, judged: Judged, heard: Heard, temperature: float) -> bool:
        """Keep the better one. Whether it is good."""
        if self.best is None:
            self.best = judged, heard, temperature
            return judged.good
        kept, before, _ = self.best
        if kept.repeats and judged.repeats and agree(before, heard):
            # A model that loops does so otherwise each time.
            self.best = replace(kept, good=True), before, self.best[2]
            return True
        if judged.silent and heard.no_speech_prob <= MAX_NO_SPEECH_PROB:
            # There were words when it was surer of what it heard.
            return False
        if judged.good or judged.rank > kept.rank:
            self.best = judged, heard, temperature
        return judged.good


@dataclass(slots=True)
class _Result:
    texts: list[str] = field(default_factory=list)
    segments: list[dict[str, Any]] = field(default_factory=list)
    words: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    speech_end: float | None = None

    def add(self, placed: Placed) -> None:
        self.texts.append(placed.text)
        self.segments.append(placed.segment)
        self.words += placed.words
        self.logprobs += placed.logprobs


class TranscriptionWork(Piecework):
    """
    Args:
        source: opened, not started. It is closed with the work.
        languages: that the model knows; none where it does not tell.
    """

    def __init__(self, source: AudioSource, wanted: Wanted, languages: Sequence[str] = ()) -> None:
        self._source = source
        self._wanted = wanted
        self._language = wanted.language or (languages[0] if len(languages) == 1 else None)
        self._asks = self._language is None and len(languages) > 1
        self._vote = LanguageVote(LANGUAGE_S)
        self._timeline = Timeline(words=wanted.words, logprobs=wanted.logprobs)
        self._result = _Result()
        self._pieces: dict[Piece, Try] = {}
        self._known: dict[int, list[Part]] = {}
        self._next = 0
        self._exhausted = False
        self._context: RunContext | None = None

    def start(self, context: RunContext, wake: Callable[[], None]) -> None:
        self._context = context
        self._source.start(wake)

    def ready(self, most: int) -> Sequence[Piece]:
        """The first windows of the file come first.

        While the language is not known the first one comes alone: it tells that of the others.
        """
        self._take()
        if self._asks and self._vote.settled is None:
            most = min(most, 1)
        return sorted(self._pieces, key=lambda piece: self._pieces[piece].window.index)[:most]

    def listen(self, tried: Try) -> Listen:
        wanted = self._wanted
        return Listen(
            samples=tried.window.samples,
            language=self._language or self._vote.settled,
            task=wanted.task,
            prompt=wanted.prompt,
            temperature=self._temperature(tried.attempt),
            seed=seed_of(wanted.seed, tried.window.index * len(TEMPERATURES) + tried.attempt),
            timestamps=wanted.timestamps,
            words=wanted.words,
            logprobs=wanted.logprobs,
        )

    def accept(self, piece: Piece, result: Any) -> None:
        tried = self._pieces.pop(piece)
        heard: Heard = result
        judged = judge(heard, speech_s(tried.window))
        is_good = tried.add(judged, heard, self._temperature(tried.attempt))
        if not is_good and self._may_retry(tried.attempt):
            tried.attempt += 1
            self._offer(tried)
            return
        self._settle(tried)
        self._send()
        self._take()

    @property
    def done(self) -> bool:
        return self._exhausted and not self._pieces

    def outputs(self) -> list[Output]:
        result, wanted = self._result, self._wanted
        value = {
            "text": "".join(result.texts),
            "language": self._language or self._vote.most,
            "duration": round(float(self._source.seconds_decoded), 3),
            "segments": result.segments,
            "words": result.words if wanted.words else None,
            "logprobs": result.logprobs if wanted.logprobs else None,
            "speech_end": result.speech_end,
        }
        return [Output("json", value)]

    def close(self) -> None:
        self._source.close()

    def _take(self) -> None:
        """Windows that are ready become pieces. Finds out whether there will be more."""
        # Asked first: what comes between the two questions is taken the next time.
        ended = self._source.ended
        room = MAX_WAITING - len(self._pieces) - len(self._known)
        if room <= 0:
            return
        windows = self._source.take(room)
        for window in windows:
            self._offer(Try(window, self))
        self._exhausted = ended and len(windows) < room

    def _offer(self, tried: Try) -> None:
        # Words and log-probabilities cost the whole batch, so those without are heard apart.
        kind = (self._wanted.words, self._wanted.logprobs)
        self._pieces[Piece(kind, len(tried.window.samples), tried)] = tried

    def _temperature(self, attempt: int) -> float:
        return self._wanted.temperature or TEMPERATURES[attempt]

    def _may_retry(self, attempt: int) -> bool:
        wanted = self._wanted
        return wanted.retries and not wanted.temperature and attempt + 1 < len(TEMPERATURES)

    def _settle(self, tried: Try) -> None:
        """What was heard best is what was said."""
        assert tried.best is not None
        judged, heard, temperature = tried.best
        window = tried.window
        if judged.silent or (judged.doubtful and not judged.good):
            heard = replace(heard, segments=(), logprobs=())
        elif not judged.good:
            heard = without_loops(heard)
        if not self._wanted.timestamps:
            heard = as_one(heard, window)
        if heard.segments and heard.language:
            self._vote.add(heard.language, speech_s(window))
        tried.parts.append(Part(window, heard, temperature))
        rest = rest_of(window, heard) if self._wanted.timestamps else None
        if rest is None:
            self._known[window.index] = tried.parts
        else:
            self._offer(Try(rest, self, parts=tried.parts))

    def _send(self) -> None:
        """All that is known without a gap, from the first window on."""
        assert self._context is not None
        while (parts := self._known.pop(self._next, None)) is not None:
            self._next += 1
            for part in parts:
                self._send_part(part, self._context)
            self._report(parts[-1].window)

    def _send_part(self, part: Part, context: RunContext) -> None:
        for placed in self._timeline.add(part.window, part.heard, part.temperature):
            self._result.add(placed)
            self._result.speech_end = speech_end(part.window)
            context.delta(self._delta(placed))

    def _delta(self, placed: Placed) -> dict[str, Any]:
        delta = {"text": placed.text, "segment": placed.segment}
        return delta | ({"logprobs": placed.logprobs} if self._wanted.logprobs else {})

    def _report(self, window: Window) -> None:
        assert self._context is not None
        seconds = window.start_s + window.length_s
        total = max(self._source.duration_s, self._source.seconds_decoded, seconds)
        self._context.step(int(seconds), max(1, round(total)))
