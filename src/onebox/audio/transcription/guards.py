"""What tells a bad transcription of a window from a good one: numbers alone, no list of phrases."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, replace
from itertools import pairwise

from onebox.audio.transcription.contracts import Heard, HeardSegment

# Whisper's own limits.
MAX_COMPRESSION_RATIO = 2.4
MIN_AVG_LOGPROB = -1.0
MAX_NO_SPEECH_PROB = 0.6
# A model that is sure that nobody speaks must be as sure of the words that it writes all the same.
SURE_AVG_LOGPROB = -0.35
# Nobody speaks so fast: English has about 15 letters a second, an auctioneer 30.
MAX_LETTERS_PER_S = 45.0
FEW_LETTERS = 25
# A run of one unit counts as a loop when it is so long and so often repeated.
LOOP_REPEATS = 4
LOOP_UNITS = 16
# Thai to Lao, Burmese, Khmer, and the letters of Chinese and Japanese: they put no spaces between
# words, so each letter is a unit; else each word is.
UNSPACED_LETTERS = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
UNIT = re.compile(rf"[{UNSPACED_LETTERS}]|(?:(?![{UNSPACED_LETTERS}])\w)+")


@dataclass(frozen=True, slots=True)
class Judged:
    """What the guards say of one try.

    Attributes:
        silent: nothing was said; the text is to be dropped.
        good: the text may stay as it is.
        doubtful: it is to be dropped if there is no good one.
        rank: the better of two bad ones has the higher one.
        repeats: its only fault is that it says much more than once, as speakers may do too.
    """

    silent: bool
    good: bool
    doubtful: bool
    rank: tuple[bool, float]
    repeats: bool = False


def judge(heard: Heard, speech_s: float) -> Judged:
    """`speech_s`: seconds of the window that have speech in them."""
    text = text_of(heard)
    doubtful = is_doubtful(heard)
    unheard = doubtful and heard.no_speech_prob > MAX_NO_SPEECH_PROB
    if unheard or not any(letter.isalnum() for letter in text):
        return Judged(silent=True, good=True, doubtful=doubtful, rank=(True, 0.0))
    is_dense = compression_ratio(text) > MAX_COMPRESSION_RATIO
    is_wild = find_loop(text) is not None or is_too_fast(text, speech_s)
    is_likely = heard.avg_logprob >= MIN_AVG_LOGPROB
    bounded = not is_dense and not is_wild
    return Judged(
        silent=False,
        good=bounded and is_likely,
        doubtful=doubtful,
        rank=(bounded, heard.avg_logprob),
        repeats=is_dense and is_likely and not is_wild,
    )


def is_doubtful(heard: Heard) -> bool:
    """Whether the model doubts that there is speech more than it trusts its text.

    The less it believes in speech, the likelier the text has to be. Never of models that do not
    tell what they believe.
    """
    slope = (SURE_AVG_LOGPROB - MIN_AVG_LOGPROB) / (1 - MAX_NO_SPEECH_PROB)
    wanted = MIN_AVG_LOGPROB + (heard.no_speech_prob - MAX_NO_SPEECH_PROB) * slope
    return heard.no_speech_prob > 0 and heard.avg_logprob < wanted


def agree(one: Heard, other: Heard) -> bool:
    """Whether they are the same words."""
    return UNIT.findall(text_of(one).casefold()) == UNIT.findall(text_of(other).casefold())


def is_too_fast(text: str, speech_s: float) -> bool:
    letters = sum(letter.isalnum() for letter in text)
    return letters > FEW_LETTERS and letters > MAX_LETTERS_PER_S * speech_s


def compression_ratio(text: str) -> float:
    """Bytes of the text by those that zlib makes of it: high for what repeats itself."""
    data = text.encode(errors="replace")
    return len(data) / len(zlib.compress(data)) if data else 0.0


def find_loop(text: str) -> tuple[int, int] | None:
    """Where the text begins to repeat itself, after the first time, and where that ends.

    Both are indices into the text; what is between them is to be left out. The shortest unit that
    repeats is taken.
    """
    found = list(UNIT.finditer(text))
    units = [match[0].casefold() for match in found]
    for period in range(1, len(units) // LOOP_REPEATS + 1):
        run = 0
        for place in range(period, len(units) + 1):
            if place < len(units) and units[place] == units[place - period]:
                run += 1
                continue
            if _is_loop(run + period, period):
                first = place - run
                return found[first - 1].end(), found[place - 1].end()
            run = 0
    return None


def _is_loop(units: int, period: int) -> bool:
    return units >= LOOP_UNITS and units >= LOOP_REPEATS * period


def without_loops(heard: Heard) -> Heard:
    """Each loop is said once. Segments that lose a part of their text lose their tokens with it,
    and the words that were cut; log-probabilities of the tokens are not kept then.
    """
    while (loop := find_loop(text_of(heard))) is not None:
        heard = replace(_without(heard, *loop), logprobs=())
    return heard


def _without(heard: Heard, start: int, end: int) -> Heard:
    ends = [0]
    for segment in heard.segments:
        ends.append(ends[-1] + len(segment.text))
    kept = [
        _cut(segment, start - before, end - before)
        for segment, (before, _) in zip(heard.segments, pairwise(ends), strict=True)
    ]
    return replace(heard, segments=tuple(segment for segment in kept if segment.text.strip()))


def _cut(segment: HeardSegment, start: int, end: int) -> HeardSegment:
    """Without the letters from `start` to `end`, which may lie outside of it."""
    start, end = max(0, start), min(len(segment.text), end)
    if start >= end:
        return segment
    words, place = [], 0
    for word in segment.words:
        place = max(place, segment.text.find(word.text.strip(), place))
        if not start <= place < end:
            words.append(word)
        place += len(word.text.strip())
    text = segment.text[:start] + segment.text[end:]
    return replace(segment, text=text, tokens=(), words=tuple(words))


def text_of(heard: Heard) -> str:
    return "".join(segment.text for segment in heard.segments)
