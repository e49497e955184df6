"""A window, or the rest of one, once it was heard."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onebox.audio.transcription.contracts import Heard, HeardSegment
from onebox.audio.windows import SAMPLING_RATE, Window

# Speech behind the last segment of a window from which on it is heard again by itself: a model that
# writes times may end early, and leaves the rest to a window that begins there.
REST_S = 1.0


@dataclass(frozen=True, slots=True)
class Part:
    """A window, or the rest of one, and what became of it."""

    window: Window
    heard: Heard
    temperature: float


def speech_s(window: Window) -> float:
    """All of it where nobody looked for speech."""
    spans = [end - start for start, end in window.speech]
    return sum(spans) if spans else window.length_s


def rest_of(window: Window, heard: Heard) -> Window | None:
    """What lies behind the last segment, if enough of it is speech."""
    cut_s = max((segment.end_s for segment in heard.segments), default=0.0)
    cut = int(cut_s * SAMPLING_RATE)
    speech = tuple((max(0.0, start - cut_s), end - cut_s) for start, end in window.speech)
    left = tuple(span for span in speech if span[1] > 0)
    if cut <= 0 or sum(end - start for start, end in left) < REST_S:
        return None
    return Window(window.index, window.start_s + cut / SAMPLING_RATE, window.samples[cut:], left)


def as_one(heard: Heard, window: Window) -> Heard:
    """One segment from the first speech of the window to the last, for models without times."""
    if not heard.segments:
        return heard
    first, last = heard.segments[0], heard.segments[-1]
    start = window.speech[0][0] if window.speech else first.start_s
    end = window.speech[-1][1] if window.speech else last.end_s
    whole = HeardSegment(
        start,
        end,
        "".join(segment.text for segment in heard.segments),
        tuple(token for segment in heard.segments for token in segment.tokens),
        tuple(word for segment in heard.segments for word in segment.words),
    )
    return replace(heard, segments=(whole,))
