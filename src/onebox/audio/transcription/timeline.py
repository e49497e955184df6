"""Places what was heard in windows on the one time base of the file.

All times are seconds of the file. Segments are in order, do not overlap and never pass the end of
their window; words lie inside of their segment, in order, and always have times.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from onebox.audio.transcription.contracts import Heard, HeardSegment, HeardToken, HeardWord
from onebox.audio.transcription.guards import UNSPACED_LETTERS, compression_ratio, text_of
from onebox.audio.windows import Window

# Whisper counts in frames of 10 ms.
FRAMES_PER_S = 100
# How far from the speech that was found in a window a segment may still begin or end.
SPEECH_MARGIN_S = 0.2
DIGITS = 3
# Two texts of which one ends, and the next one begins like this, have a space between them.
SPACED_END = re.compile(rf"[^\s{UNSPACED_LETTERS}]$")
SPACED_START = re.compile(rf"(?![_{UNSPACED_LETTERS}])\w")


@dataclass(frozen=True, slots=True)
class Placed:
    """One segment of the file.

    Attributes:
        text: what it adds to the text of the whole.
        segment: its fields as a client sees them.
        words: `word`, `start` and `end` of each.
        logprobs: `token`, `bytes` and `logprob` of each.
    """

    text: str
    segment: dict[str, Any]
    words: list[dict[str, Any]]
    logprobs: list[dict[str, Any]]


@dataclass(slots=True)
class Timeline:
    """Windows are added in the order of the file."""

    words: bool = False
    logprobs: bool = False
    _placed: int = 0
    _end_s: float = 0.0
    _last: str = ""

    def add(self, window: Window, heard: Heard, temperature: float) -> list[Placed]:
        shared = {
            "temperature": float(temperature),
            "avg_logprob": _finite(heard.avg_logprob),
            "compression_ratio": round(compression_ratio(text_of(heard)), DIGITS),
            "no_speech_prob": _finite(heard.no_speech_prob),
        }
        tokens = _tokens_of(heard) if self.logprobs else [()] * len(heard.segments)
        said = [
            (segment, logprobs)
            for segment, logprobs in zip(heard.segments, tokens, strict=True)
            if segment.text.strip()
        ]
        if said and self._needs_space(said[0][0].text):
            said[0] = replace(said[0][0], text=f" {said[0][0].text}"), said[0][1]
        return [self._place(window, segment, shared, logprobs) for segment, logprobs in said]

    def _place(
        self,
        window: Window,
        heard: HeardSegment,
        shared: dict[str, Any],
        logprobs: Sequence[HeardToken],
    ) -> Placed:
        first, last = _bounds(window)
        start = _within(window.start_s + heard.start_s, max(first, self._end_s), last)
        end = _within(window.start_s + heard.end_s, start, last)
        self._end_s = end
        text = heard.text.rstrip() if self._placed else heard.text.strip()
        segment = {
            "id": self._placed,
            "seek": round(window.start_s * FRAMES_PER_S),
            "start": start,
            "end": end,
            "text": text,
            "tokens": list(heard.tokens),
            **shared,
        }
        self._placed += 1
        self._last = text
        words = list(_words(heard, window.start_s, start, end)) if self.words else []
        return Placed(text, segment, words, [_logprob(token) for token in logprobs])

    def _needs_space(self, text: str) -> bool:
        """Whether a window's text is to be set off from what was placed before it."""
        return bool(SPACED_END.search(self._last) and SPACED_START.match(text))


def speech_end(window: Window) -> float:
    """Where the last speech of a window ends in the file."""
    last = max((end for _, end in window.speech), default=window.length_s)
    return _within(window.start_s + last, window.start_s, window.start_s + window.length_s)


def _bounds(window: Window) -> tuple[float, float]:
    """Where segments may lie: the window, without what lies before and after all its speech."""
    first, last = window.start_s, window.start_s + window.length_s
    if window.speech:
        first = max(first, window.start_s + window.speech[0][0] - SPEECH_MARGIN_S)
        last = min(last, window.start_s + window.speech[-1][1] + SPEECH_MARGIN_S)
    # Down, so that rounding cannot push it past the end of the file.
    scale = 10**DIGITS
    return first, math.floor(last * scale) / scale


def _within(value: float, low: float, high: float) -> float:
    """Where the bounds cross, the lower one holds."""
    return round(max(low, min(value, high)) if math.isfinite(value) else low, DIGITS)


def _words(
    heard: HeardSegment, offset_s: float, start: float, end: float
) -> Iterator[dict[str, Any]]:
    """Words without times of their own share those of the segment by their length."""
    at = start
    for word in heard.words or _shared_out(heard.text, start - offset_s, end - offset_s):
        text = word.text.strip()
        if not text:
            continue
        begin = _within(offset_s + word.start_s, at, end)
        at = _within(offset_s + word.end_s, begin, end)
        yield {"word": text, "start": begin, "end": at}


def _shared_out(text: str, start: float, end: float) -> list[HeardWord]:
    words = text.split()
    letter_s = (end - start) / max(1, sum(map(len, words)))
    found, at = [], start
    for word in words:
        found.append(HeardWord(word, at, at + letter_s * len(word)))
        at += letter_s * len(word)
    return found


def _tokens_of(heard: Heard) -> list[Sequence[HeardToken]]:
    """The tokens with log-probabilities of each segment; what nobody claims goes to the last."""
    left = list(heard.logprobs)
    shares: list[Sequence[HeardToken]] = []
    for segment in heard.segments:
        count = len(segment.tokens) if len(shares) < len(heard.segments) - 1 else len(left)
        shares.append(left[:count])
        left = left[count:]
    return shares


def _logprob(token: HeardToken) -> dict[str, Any]:
    data = token.text.encode(errors="replace")
    return {"token": token.text, "bytes": list(data), "logprob": _finite(token.logprob)}


def _finite(value: float) -> float:
    """JSON has no infinity."""
    return float(value) if math.isfinite(value) else (-100.0 if value < 0 else 0.0)


@dataclass(slots=True)
class LanguageVote:
    """Which language a file is in, when nobody said so: the one that most seconds are in.

    A short window is easily taken for another language, and most files are in one. So once enough
    was heard the rest is taken for that language without being asked about again.
    """

    enough_s: float
    _seconds: dict[str, float] = field(default_factory=dict)

    def add(self, language: str, seconds: float) -> None:
        self._seconds[language] = self._seconds.get(language, 0.0) + seconds

    @property
    def most(self) -> str | None:
        return max(self._seconds, key=self._seconds.__getitem__, default=None)

    @property
    def settled(self) -> str | None:
        """None: not enough was heard yet."""
        return self.most if sum(self._seconds.values()) >= self.enough_s else None
