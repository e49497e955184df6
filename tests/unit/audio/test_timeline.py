from __future__ import annotations

import math
import random
from typing import Any

import pytest

from onebox.audio.transcription.contracts import Heard, HeardSegment, HeardToken
from onebox.audio.transcription.timeline import LanguageVote, Placed, Timeline, speech_end
from onebox.audio.windows import Window
from tests.unit.audio.speaking import heard, said, window, with_words


def place(*pairs: tuple[Window, Heard], **options: Any) -> list[Placed]:
    timeline = Timeline(**options)
    return [placed for one, found in pairs for placed in timeline.add(one, found, 0.2)]


def test_a_segment_has_all_fields_and_numbers_are_numbers() -> None:
    (placed,) = place((window(0, 12.34, 10.0), heard((1, 2.5, " Hello you."), no_speech_prob=0.1)))
    assert placed.segment == {
        "id": 0,
        "seek": 1234,
        "start": 13.34,
        "end": 14.84,
        "text": "Hello you.",
        "tokens": [0, 1],
        "temperature": 0.2,
        "avg_logprob": -0.2,
        "compression_ratio": pytest.approx(0.6, abs=0.1),
        "no_speech_prob": 0.1,
    }
    floats = set(placed.segment) - {"id", "seek", "text", "tokens"}
    assert {type(placed.segment[name]) for name in floats} == {float}


def test_times_that_cross_or_pass_the_end_are_put_in_order() -> None:
    found = heard((3.0, 2.0, " a"), (1.0, 8.0, " b"), (7.0, 40.0, " c"), (math.nan, math.inf, " d"))
    times = [
        (one.segment["start"], one.segment["end"]) for one in place((window(0, 100.0, 10.0), found))
    ]
    assert times == [(103.0, 103.0), (103.0, 108.0), (108.0, 110.0), (110.0, 110.0)]


def test_segments_keep_near_to_the_speech_of_their_window() -> None:
    (placed,) = place((window(0, 10.0, 10.0, (2.0, 3.0), (5.0, 6.0)), heard((0.0, 10.0, " a"))))
    assert (placed.segment["start"], placed.segment["end"]) == (11.8, 16.2)


def test_any_times_at_all_become_one_order() -> None:
    numbers = random.Random(5)
    timeline = Timeline(words=True)
    last = 0.0
    for index in range(60):
        length = numbers.uniform(0.05, 30)
        one = window(index, index * 30.0, length)
        times = [numbers.uniform(-5, 40) for _ in range(8)]
        words = [(numbers.uniform(-5, 40), numbers.uniform(-5, 40)) for _ in range(3)]
        found = heard(*((a, b, " x") for a, b in zip(times[::2], times[1::2], strict=True)))
        segments = (*found.segments, *with_words("one two three", *words).segments)
        for placed in timeline.add(one, Heard(segments, "en", -0.1, 0.0), 0.0):
            start, end = placed.segment["start"], placed.segment["end"]
            assert last <= start <= end <= one.start_s + one.length_s
            at = start
            for word in placed.words:
                assert at <= word["start"] <= word["end"] <= end
                at = word["end"]
            last = end


def test_words_without_times_share_those_of_their_segment() -> None:
    (placed,) = place((window(0, 10.0, 10.0), heard((1, 3, " ab cdefgh"))), words=True)
    assert placed.words == [
        {"word": "ab", "start": 11.0, "end": 11.5},
        {"word": "cdefgh", "start": 11.5, "end": 13.0},
    ]


def test_words_without_numbers_for_times_get_some() -> None:
    found = with_words("a b c", (0.0, 1.0), (math.nan, math.nan), (3.0, 4.0))
    (placed,) = place((window(), found), words=True)
    assert [(word["start"], word["end"]) for word in placed.words] == [(0, 1), (1, 1), (3, 4)]


def test_words_are_left_out_unless_they_are_wanted() -> None:
    (placed,) = place((window(), with_words("a", (0.0, 1.0))))
    assert placed.words == []


@pytest.mark.parametrize(
    ("texts", "joined"),
    [
        ([" One.", " Two."], "One. Two."),
        (["One.", "Two."], "One. Two."),
        (["今日は", "良い天気"], "今日は良い天気"),
        (["Hello", ", world"], "Hello, world"),
        ([" eins ", " zwei "], "eins zwei"),
        (["日本", "Tokyo"], "日本Tokyo"),
    ],
)
def test_texts_of_windows_are_joined_as_their_script_does(texts: list[str], joined: str) -> None:
    pairs = [(window(index, index * 10.0), said(text)) for index, text in enumerate(texts)]
    assert "".join(placed.text for placed in place(*pairs)) == joined


def test_segments_inside_of_a_window_are_joined_as_the_model_did() -> None:
    placed = place((window(), heard((0, 1, " under"), (1, 2, "stand"))))
    assert [one.text for one in placed] == ["under", "stand"]


def test_empty_segments_are_left_out_and_ids_have_no_gap() -> None:
    placed = place((window(), heard((0, 1, " a"), (1, 2, "  "), (2, 3, " b"))))
    assert [one.segment["id"] for one in placed] == [0, 1]


def test_logprobs_go_with_their_segments() -> None:
    tokens = [HeardToken(text, number, -0.5) for number, text in enumerate([" a", " b", " c", "!"])]
    found = heard((0, 1, " a b"), (1, 2, " c"), logprobs=tokens)
    first, second = place((window(), found), logprobs=True)
    assert [one["token"] for one in first.logprobs] == [" a", " b"]
    assert [one["token"] for one in second.logprobs] == [" c", "!"]
    assert second.logprobs[1] == {"token": "!", "bytes": [33], "logprob": -0.5}


def test_infinities_do_not_reach_the_client() -> None:
    found = Heard((HeardSegment(0, 1, " a"),), "en", -math.inf, math.nan)
    (placed,) = place((window(), found))
    assert placed.segment["avg_logprob"] == -100.0
    assert placed.segment["no_speech_prob"] == 0.0


def test_the_last_speech_ends_inside_of_its_window() -> None:
    assert speech_end(window(0, 5.0, 10.0)) == 15.0
    assert speech_end(window(0, 5.0, 10.0, (1.0, 2.0), (3.0, 4.5))) == 9.5
    assert speech_end(window(0, 5.0, 10.0, (1.0, 99.0))) == 15.0


def test_a_language_is_settled_once_enough_was_heard() -> None:
    vote = LanguageVote(enough_s=10.0)
    assert (vote.most, vote.settled) == (None, None)
    vote.add("cy", 4.0)
    assert (vote.most, vote.settled) == ("cy", None)
    vote.add("de", 7.0)
    assert (vote.most, vote.settled) == ("de", "de")
