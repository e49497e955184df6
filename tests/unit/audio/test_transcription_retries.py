from __future__ import annotations

from typing import Any

import pytest

from onebox.audio.transcription.contracts import Heard, Listen
from onebox.audio.transcription.piecework import MAX_WAITING, TEMPERATURES
from onebox.audio.windows import SAMPLING_RATE
from tests.unit.audio.speaking import (
    FakeSource,
    Talk,
    heard,
    in_a_row,
    said,
    window,
)

MANY = ("cy", "de", "en", "fr")
LOOP = " Thank you." * 40


def test_a_loop_is_heard_again_at_the_next_temperatures() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        return said(LOOP if listen.temperature < 0.4 else " Goodbye.")

    talk = Talk(FakeSource(in_a_row(1)))
    value = talk.all(hear)
    assert [listen.temperature for listen in talk.listened] == [0.0, 0.2, 0.4]
    assert value["text"] == "Goodbye."
    assert value["segments"][0]["temperature"] == 0.4
    assert len({listen.seed for listen in talk.listened}) == 3


def test_others_go_on_while_a_window_is_heard_again() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        return said(LOOP if index == 0 and listen.temperature < 0.2 else f" word{index}.")

    talk = Talk(FakeSource(in_a_row(4)))
    first = talk.round(hear, most=3)
    assert talk.told == []
    second = talk.round(hear, most=3)
    assert [piece.value.window.index for piece in (*first, *second)] == [0, 1, 2, 0, 3]
    assert talk.told == ["word0.", " word1.", " word2.", " word3."]


def test_of_tries_that_all_fail_the_best_is_taken_and_its_loop_cut() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        best = listen.temperature == 0.6
        return said(" Bye." + LOOP, avg_logprob=-0.1 if best else -0.9)

    talk = Talk(FakeSource(in_a_row(1)))
    value = talk.all(hear)
    assert [listen.temperature for listen in talk.listened] == list(TEMPERATURES)
    assert value["text"] == "Bye. Thank you."
    assert value["segments"][0]["temperature"] == 0.6


TWICE = " We will ask not what your country can do for you, but what you can do for it." * 3


def test_a_speaker_who_says_it_again_is_believed_when_two_tries_agree() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        if listen.temperature > 0.2:
            return said(" Seasons of merit.", avg_logprob=-0.9)
        text = TWICE if listen.temperature == 0 else TWICE.upper()
        return said(text, avg_logprob=-0.2 - listen.temperature)

    talk = Talk(FakeSource(in_a_row(1)))
    value = talk.all(hear)
    assert [listen.temperature for listen in talk.listened] == [0.0, 0.2]
    assert value["text"] == TWICE.strip()
    assert value["segments"][0]["temperature"] == 0.0


def test_tries_that_repeat_themselves_otherwise_each_time_are_not_believed() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        if listen.temperature > 0.2:
            return said(" Goodbye.")
        return said(TWICE if listen.temperature else TWICE.replace("ask", "tell"))

    assert Talk(FakeSource(in_a_row(1))).all(hear)["text"] == "Goodbye."


def test_words_are_not_lost_to_a_later_try_that_heard_none() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        return said(" ..." if listen.temperature else " Mumbled words.", avg_logprob=-1.2)

    talk = Talk(FakeSource(in_a_row(1)))
    assert talk.all(hear)["text"] == "Mumbled words."


def test_an_unlikely_text_beats_a_loop() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        return said(LOOP) if listen.temperature else said(" Mumbled.", avg_logprob=-2.0)

    assert Talk(FakeSource(in_a_row(1))).all(hear)["text"] == "Mumbled."


def test_the_rest_of_a_window_that_the_model_left_early_is_heard_by_itself() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        whole = len(listen.samples) == 20 * SAMPLING_RATE
        return heard((0.0, 12.0, " Begun.")) if whole else heard((1.0, 7.0, " Ended."))

    source = FakeSource([window(0, 100.0, 20.0, (0.5, 11.0), (13.0, 19.0)), window(1, 120.0, 5.0)])
    talk = Talk(source)
    value = talk.all(hear, most=2)
    assert [len(listen.samples) // SAMPLING_RATE for listen in talk.listened] == [20, 5, 8]
    times = [(one["seek"], one["start"], one["end"]) for one in value["segments"]]
    assert times == [(10000, 100.3, 112.0), (11200, 113.0, 119.0), (12000, 121.0, 125.0)]
    assert value["text"] == "Begun. Ended. Ended."


@pytest.mark.parametrize(
    ("speech", "timestamps"),
    [([(0.0, 4.0), (9.0, 9.9)], True), ([(0.0, 9.0)], False), ([], True)],
    ids=["little speech", "no times", "nobody looked"],
)
def test_a_rest_without_speech_is_let_go(speech: Any, timestamps: bool) -> None:
    talk = Talk(FakeSource([window(0, 0.0, 10.0, *speech)]), timestamps=timestamps)
    talk.all(lambda listen, index: heard((0.0, 5.0, " All.")))
    assert len(talk.listened) == 1


def test_a_model_that_never_comes_to_the_end_is_not_asked_for_ever() -> None:
    talk = Talk(FakeSource([window(0, 0.0, 30.0, (0.0, 30.0))]))
    talk.all(lambda listen, index: heard((0.0, 0.0, " a")))
    assert len(talk.listened) == 1
    talk = Talk(FakeSource([window(0, 0.0, 30.0, (0.0, 30.0))]))
    talk.all(lambda listen, index: heard((0.0, 2.0, " a")))
    assert len(talk.listened) == 15


def test_a_temperature_that_was_asked_for_is_the_only_one() -> None:
    talk = Talk(FakeSource(in_a_row(1)), temperature=0.3)
    talk.all(lambda listen, index: said(LOOP))
    assert [listen.temperature for listen in talk.listened] == [0.3]


def test_a_model_that_always_says_the_same_is_asked_once() -> None:
    talk = Talk(FakeSource(in_a_row(1)), retries=False)
    talk.all(lambda listen, index: said(" x", avg_logprob=-5.0))
    assert len(talk.listened) == 1


@pytest.mark.parametrize(
    "nothing",
    [
        Heard((), "en", 0.0, 0.9),
        said(" Thanks for watching!", avg_logprob=-1.1, no_speech_prob=0.65),
        said(" Thanks for watching!", avg_logprob=-0.5, no_speech_prob=0.95),
        said(" ♪♪ ..."),
    ],
)
def test_what_is_no_speech_gives_no_text(nothing: Heard) -> None:
    talk = Talk(FakeSource(in_a_row(2)))
    value = talk.all(lambda listen, index: nothing)
    assert value["text"] == ""
    assert value["segments"] == []
    assert value["speech_end"] is None
    assert talk.told == []
    assert len(talk.listened) == 2, "it was heard again"


def test_what_is_known_already_counts_while_the_first_window_is_heard_again() -> None:
    talk = Talk(FakeSource(in_a_row(100)))

    def hear(listen: Listen, index: int) -> Heard:
        return said(LOOP if index == 0 else " word.")

    for _ in range(4):
        talk.round(hear, most=10)
    (piece,) = talk.work.ready(1000)
    assert piece.value.window.index == 0
    assert {len(talk.told), len(talk.source.take(1000))} == {0, 100 - MAX_WAITING}


def test_a_text_that_is_unlikely_at_every_temperature_is_dropped_if_there_may_be_no_speech() -> (
    None
):
    def hear(listen: Listen, index: int) -> Heard:
        return said(" Thank you.", avg_logprob=-1.8, no_speech_prob=0.35)

    talk = Talk(FakeSource(in_a_row(1)))
    assert talk.all(hear)["text"] == ""
    assert len(talk.listened) == len(TEMPERATURES)
