"""Where speech is cut into windows: made-up probabilities of speech in, windows out."""

from __future__ import annotations

import itertools
import random

import pytest

from onebox.audio.decoding.cutter import FRAME, MAX_FRAMES, Cut, Cutter
from onebox.audio.decoding.options import VadOptions
from onebox.audio.windows import MAX_SAMPLES, MAX_WINDOW_S, SAMPLING_RATE

PER_SECOND = SAMPLING_RATE / FRAME
PADDING = int(0.3 * PER_SECOND)


def frames(seconds: float) -> int:
    return round(seconds * PER_SECOND)


def sound(*parts: tuple[bool, float]) -> list[float]:
    """Parts of (is it speech, seconds) as probabilities."""
    found: list[float] = []
    for speech, seconds in parts:
        found += [0.95 if speech else 0.02] * frames(seconds)
    return found


def cut(
    probabilities: list[float],
    options: VadOptions | None = VadOptions(),  # noqa: B008 - it is frozen
    decibels: list[float] | None = None,
) -> list[Cut]:
    cutter = Cutter(options)
    loudness = decibels or [-20.0] * len(probabilities)
    return cutter.add(probabilities, loudness) + cutter.end()


def test_a_full_window_is_as_long_as_a_window_may_be():
    assert MAX_SAMPLES == MAX_WINDOW_S * SAMPLING_RATE


def test_silence_gives_no_window():
    assert cut(sound((False, 100))) == []


def test_nothing_gives_no_window():
    assert cut([]) == []
    assert cut([], None) == []


def test_one_stretch_of_speech_is_one_window_with_padding_around_it():
    (only,) = cut(sound((False, 5), (True, 3), (False, 5)))
    start, end = frames(5), frames(5) + frames(3)
    assert only == Cut(start - PADDING, end + PADDING, ((start, end),))


def test_a_click_is_no_speech():
    assert cut([*sound((False, 2)), 0.9, 0.9, *sound((False, 2))]) == []


def test_short_pauses_are_kept_inside_a_window():
    (only,) = cut(sound((True, 4), (False, 1), (True, 4), (False, 1.5), (True, 4)))
    assert len(only.speech) == 3
    assert (only.start, only.end) == (0, len(sound((True, 14.5))))


def test_a_clear_pause_ends_a_window():
    first, second = cut(sound((True, 4), (False, 3), (True, 4)))
    assert first.end == frames(4) + PADDING
    assert second.start == frames(4) + frames(3) - PADDING


def test_a_window_is_given_as_soon_as_the_pause_is_clear():
    cutter = Cutter(VadOptions())
    some = sound((True, 4), (False, 2.1))
    assert len(cutter.add(some, [-20.0] * len(some))) == 1
    assert cutter.end() == []


def test_full_windows_are_cut_at_the_longest_pause_of_the_last_half():
    parts = [(True, 9), (False, 1.0), (True, 8), (False, 1.6), (True, 5), (False, 0.8), (True, 9)]
    first, second = cut(sound(*parts))
    assert len(first.speech) == 2
    assert first.end == first.speech[-1][1] + PADDING
    assert second.start == second.speech[0][0] - PADDING


def test_an_early_pause_is_better_than_a_cut_through_a_word():
    first, second = cut(sound((True, 5), (False, 1), (True, 26)))
    assert len(first.speech) == 1
    assert second.speech[0][0] == frames(5) + frames(1)


def test_who_speaks_on_is_cut_at_the_quietest_place_of_the_last_third():
    speech = sound((True, 40))
    loudness = [-20.0] * len(speech)
    quiet = frames(26)
    loudness[frames(10) : frames(10) + 3] = [-60.0] * 3
    loudness[quiet : quiet + 3] = [-50.0] * 3
    first, second = cut(speech, decibels=loudness)
    assert first == Cut(0, quiet + 1, ((0, quiet + 1),))
    assert second.start == quiet + 1
    assert second.end == len(speech)


def test_a_place_without_speech_is_as_good_as_a_quiet_one():
    speech = sound((True, 40))
    speech[frames(24) : frames(24) + 5] = [0.1] * 5
    first, _ = cut(speech)
    assert frames(24) < first.end < frames(24) + 5


def test_without_options_the_windows_cover_all():
    found = cut([0.0] * 5000, None)
    assert found[0].start == 0
    assert found[-1].end == 5000
    assert all(left.end == right.start for left, right in itertools.pairwise(found))
    assert max(window.end - window.start for window in found) <= MAX_FRAMES


def test_a_higher_threshold_hears_less():
    faint = [0.6] * frames(2)
    assert cut(faint, VadOptions(threshold=0.7)) == []
    assert len(cut(faint, VadOptions(threshold=0.5))) == 1


def test_a_shorter_pause_parts_more_stretches():
    parts = sound((True, 2), (False, 0.4), (True, 2))
    (coarse,) = cut(parts, VadOptions(silence_duration_ms=500))
    (fine,) = cut(parts, VadOptions(silence_duration_ms=200))
    assert len(coarse.speech) == 1
    assert len(fine.speech) == 2


def test_what_may_still_be_needed_is_told():
    cutter = Cutter(VadOptions())
    cutter.add(sound((False, 60)), [-60.0] * frames(60))
    assert cutter.kept_from == frames(60) - PADDING
    cutter.add(sound((True, 10)), [-20.0] * frames(10))
    assert cutter.kept_from == frames(60) - PADDING


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("vad", [True, False])
def test_whatever_comes_windows_are_in_order_and_hold_all_speech(seed, vad):
    chance = random.Random(seed)
    probabilities: list[float] = []
    while len(probabilities) < 12_000:
        level = chance.choice([0.01, 0.3, 0.45, 0.7, 0.99])
        probabilities += [level] * chance.choice([1, 2, 5, 20, 70, 400, 1500])
    options = (
        VadOptions(
            threshold=chance.choice([0.2, 0.5, 0.8]),
            prefix_padding_ms=chance.choice([0, 100, 300, 1000]),
            silence_duration_ms=chance.choice([0, 100, 500, 3000]),
        )
        if vad
        else None
    )
    loudness = [chance.uniform(-60, 0) for _ in probabilities]
    cutter, found, kept, at = Cutter(options), [], 0, 0
    while at < len(probabilities):
        step = chance.choice([1, 30, 128, 1000])
        new = cutter.add(probabilities[at : at + step], loudness[at : at + step])
        assert all(window.start >= kept for window in new)
        found += new
        at += step
        assert kept <= cutter.kept_from
        kept = cutter.kept_from
        assert len(probabilities[:at]) - kept <= MAX_FRAMES + frames(2)
    found += cutter.end()
    for window in found:
        assert 0 <= window.start < window.end <= len(probabilities)
        assert window.end - window.start <= MAX_FRAMES
        assert all(window.start <= a < b <= window.end for a, b in window.speech)
    assert all(left.end <= right.start for left, right in itertools.pairwise(found))
    held = {at for window in found for at in range(window.start, window.end)}
    sure = speech_of(probabilities, options.threshold if options else 0.0)
    assert sure <= held


def speech_of(probabilities: list[float], threshold: float) -> set[int]:
    """Frames in runs at or above the threshold that are too long to be clicks."""
    found: set[int] = set()
    run: list[int] = []
    for at, probability in enumerate([*probabilities, -1.0]):
        if probability >= threshold:
            run.append(at)
            continue
        if len(run) >= 3:
            found |= set(run)
        run = []
    return found
