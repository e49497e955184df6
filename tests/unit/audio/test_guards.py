from __future__ import annotations

import pytest

from onebox.audio.transcription.contracts import Heard, HeardSegment, HeardToken, HeardWord
from onebox.audio.transcription.guards import (
    compression_ratio,
    find_loop,
    judge,
    text_of,
    without_loops,
)
from tests.unit.audio.speaking import heard, said

SPEECH = " And so, my fellow Americans, ask not what your country can do for you."


def test_plain_speech_is_good() -> None:
    judged = judge(said(SPEECH), 5.0)
    assert judged.good
    assert not judged.silent


@pytest.mark.parametrize(
    ("found", "speech_s"),
    [
        (said(" Thank you." * 30), 20.0),
        (said(" ありがとう" * 12), 20.0),
        (said(SPEECH + " no" * 16), 20.0),
        (said(SPEECH, avg_logprob=-1.01), 5.0),
        (said(SPEECH), 0.5),
    ],
    ids=["words", "letters", "part", "unlikely", "too fast"],
)
def test_what_cannot_be_right_is_not_good(found: Heard, speech_s: float) -> None:
    judged = judge(found, speech_s)
    assert not judged.good
    assert not judged.silent


def test_a_short_word_may_be_quick() -> None:
    assert judge(said(" Yes."), 0.1).good


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "silent"),
    [
        (0.0, -3.0, False),
        (0.6, -3.0, False),
        (0.61, -1.5, True),
        (0.61, -0.9, False),
        (0.8, -0.8, True),
        (0.8, -0.4, False),
        (1.0, -0.4, True),
        (1.0, -0.3, False),
    ],
)
def test_the_less_speech_there_seems_to_be_the_likelier_the_text_has_to_be(
    no_speech_prob: float, avg_logprob: float, silent: bool
) -> None:
    found = said(SPEECH, no_speech_prob=no_speech_prob, avg_logprob=avg_logprob)
    assert judge(found, 5.0).silent is silent


@pytest.mark.parametrize(
    ("no_speech_prob", "avg_logprob", "doubtful"),
    [(0.35, -1.3, False), (0.35, -1.5, True), (0.01, -1.9, False), (0.01, -2.5, True)],
)
def test_below_its_limit_doubt_only_counts_for_what_is_not_good(
    no_speech_prob: float, avg_logprob: float, doubtful: bool
) -> None:
    found = said(SPEECH, no_speech_prob=no_speech_prob, avg_logprob=avg_logprob)
    judged = judge(found, 5.0)
    assert (judged.silent, judged.good, judged.doubtful) == (False, False, doubtful)


def test_a_model_that_tells_nothing_of_speech_is_not_doubted() -> None:
    assert not judge(said(SPEECH, no_speech_prob=0.0, avg_logprob=-9.0), 5.0).doubtful


@pytest.mark.parametrize("text", ["", " ", " ♪ ♪", "...", "?!"])
def test_a_text_without_a_letter_is_silence(text: str) -> None:
    assert judge(said(text), 5.0).silent


@pytest.mark.parametrize("text", ["7", "é", "日本", " Да."])
def test_letters_of_any_script_are_speech(text: str) -> None:
    assert not judge(said(text), 5.0).silent


@pytest.mark.parametrize(
    "text",
    [
        "no, no, no, no, no!",
        "one two three four five six seven eight nine ten eleven twelve thirteen",
        "ha ha ha ha ha ha ha ha",
        "the more you know the more you know that you know nothing",
        "",
    ],
)
def test_people_repeat_themselves_a_little(text: str) -> None:
    assert find_loop(text) is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Bye. " + "Thank you. " * 12 + "And more.", "Bye. Thank you. And more."),
        ("no " * 30, "no "),
        ("No, no. " * 9 + "END", "No. END"),
        ("谢谢大家" * 6 + "再见", "谢谢大家再见"),
        ("a b c d e " * 3 + "a b c d e", "a b c d e"),
    ],
)
def test_a_loop_is_said_once(text: str, kept: str) -> None:
    loop = find_loop(text)
    assert loop is not None
    assert text[: loop[0]] + text[loop[1] :] == kept


def test_the_better_of_two_bad_ones_has_no_loop_then_is_the_likelier() -> None:
    loop, unlikely = said(" so" * 50, avg_logprob=-0.1), said(SPEECH, avg_logprob=-4.0)
    assert judge(unlikely, 5.0).rank > judge(loop, 20.0).rank
    assert judge(said(SPEECH, avg_logprob=-1.5), 5.0).rank > judge(unlikely, 5.0).rank


def test_cutting_a_loop_goes_over_segments_and_keeps_the_words_of_what_stays() -> None:
    first = heard((0.0, 2.0, " Hello there."), (2.0, 4.0, " Bye." * 20), (4.0, 6.0, " Bye. Now."))
    words = (HeardWord(" Bye.", 4.0, 4.5), HeardWord(" Now.", 5.0, 5.5))
    last = HeardSegment(4.0, 6.0, " Bye. Now.", (1, 2), words)
    found = Heard((*first.segments[:2], last), "en", -0.1, 0.0, (HeardToken("x", 1, -0.1),))
    cut = without_loops(found)
    assert text_of(cut) == " Hello there. Bye. Now."
    assert [segment.start_s for segment in cut.segments] == [0.0, 2.0, 4.0]
    assert cut.segments[0].tokens == (0, 1)
    assert cut.segments[1].tokens == ()
    assert [word.text for word in cut.segments[2].words] == [" Now."]
    assert cut.logprobs == ()


def test_a_segment_that_was_all_loop_goes() -> None:
    cut = without_loops(heard((0, 1, " la"), (1, 2, " la" * 20)))
    assert [segment.text for segment in cut.segments] == [" la"]


def test_what_repeats_itself_compresses_well() -> None:
    assert compression_ratio("") == 0
    assert compression_ratio(SPEECH) < 1.5
    assert compression_ratio(SPEECH * 10) > 2.4
