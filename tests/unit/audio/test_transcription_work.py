from __future__ import annotations

import pytest

from onebox.audio.transcription.contracts import Heard, HeardToken, Listen
from onebox.audio.transcription.piecework import MAX_WAITING
from onebox.core.errors import Cancelled, InvalidInput
from tests.unit.audio.speaking import (
    FakeSource,
    Talk,
    in_a_row,
    number,
    said,
    window,
    with_words,
)

MANY = ("cy", "de", "en", "fr")
LOOP = " Thank you." * 40


def test_the_texts_of_all_windows_become_one() -> None:
    talk = Talk(FakeSource(in_a_row(3)))
    value = talk.all(number)
    assert value["text"] == "word0. word1. word2."
    assert value["language"] == "en"
    assert value["duration"] == 30.0
    assert value["words"] is None
    assert value["logprobs"] is None
    assert [segment["id"] for segment in value["segments"]] == [0, 1, 2]
    assert [segment["start"] for segment in value["segments"]] == [0.0, 10.0, 20.0]


def test_windows_heard_out_of_order_go_out_in_order() -> None:
    talk = Talk(FakeSource(in_a_row(8)))
    value = talk.all(number, most=3, turn=True)
    assert talk.told == ["word0.", *(f" word{index}." for index in range(1, 8))]
    assert "".join(talk.told) == value["text"]
    assert [delta["segment"] for delta in talk.context.deltas] == value["segments"]


def test_a_window_that_is_done_does_not_wait_for_those_after_it() -> None:
    talk = Talk(FakeSource(in_a_row(3)))
    talk.round(number, most=1)
    assert talk.told == ["word0."]
    assert talk.context.steps == [(10, 30)]
    assert not talk.work.done


def test_a_file_without_windows_is_done_at_once() -> None:
    talk = Talk(FakeSource([], duration_s=61.5))
    assert talk.work.ready(4) == []
    assert talk.work.done
    (output,) = talk.work.outputs()
    assert output.value["text"] == ""
    assert output.value["duration"] == 61.5


def test_the_end_may_become_known_after_the_last_window() -> None:
    source = FakeSource(in_a_row(1))
    source.late_end = True
    talk = Talk(source)
    talk.round(number)
    assert not talk.work.done
    source.late_end = False
    assert talk.work.ready(4) == []
    assert talk.work.done


def test_windows_come_as_they_are_decoded() -> None:
    source = FakeSource(in_a_row(5))
    source.hold_back(3)
    talk = Talk(source)
    assert len(talk.round(number)) == 2
    assert talk.work.ready(4) == []
    assert not talk.work.done
    source.arrive()
    assert talk.all(number)["text"] == "word0. word1. word2. word3. word4."


def test_a_long_file_is_not_taken_out_of_its_decoder_all_at_once() -> None:
    talk = Talk(FakeSource(in_a_row(100)))
    assert len(talk.work.ready(1000)) == MAX_WAITING
    talk.round(number, most=4, turn=False)
    assert len(talk.work.ready(1000)) == MAX_WAITING


def test_the_error_that_decoding_ends_in_is_raised() -> None:
    source = FakeSource(in_a_row(1))
    talk = Talk(source)
    source.error = InvalidInput("the file ends in the middle")
    with pytest.raises(InvalidInput):
        talk.work.ready(4)


def test_a_cancelled_request_goes_no_further_than_its_window() -> None:
    talk = Talk(FakeSource(in_a_row(3)))
    talk.context.stop = Cancelled("gone")
    (piece, *_) = talk.work.ready(4)
    with pytest.raises(Cancelled):
        talk.work.accept(piece, said(" one"))
    talk.work.close()
    assert talk.source.closed == 1


def test_the_language_is_found_on_the_first_windows_and_kept() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        return said(f" mot{index}", language=listen.language or "fr")

    talk = Talk(FakeSource(in_a_row(6)), languages=MANY, language=None)
    sizes = []
    while not talk.work.done:
        sizes.append(len(talk.round(hear)))
    assert sizes == [1, 1, 4]
    assert [listen.language for listen in talk.listened] == [None, None, "fr", "fr", "fr", "fr"]
    assert talk.work.outputs()[0].value["language"] == "fr"


def test_the_language_is_the_one_of_most_seconds() -> None:
    windows = [window(0, 0.0, 2.0), window(1, 2.0, 9.0), window(2, 11.0, 2.0)]

    def hear(listen: Listen, index: int) -> Heard:
        return said(" x", language=["cy", "de", "cy"][index])

    assert Talk(FakeSource(windows), languages=MANY, language=None).all(hear)["language"] == "de"


def test_a_model_of_one_language_is_not_asked_for_it() -> None:
    talk = Talk(FakeSource(in_a_row(4)), languages=("en",), language=None)
    assert len(talk.round(number)) == 4
    assert {listen.language for listen in talk.listened} == {"en"}


def test_a_model_that_does_not_tell_its_languages_is_not_asked_for_one() -> None:
    talk = Talk(FakeSource(in_a_row(4)), language=None)
    assert len(talk.round(lambda listen, index: said(" x", language=""))) == 4
    assert talk.work.outputs()[0].value["language"] is None


def test_words_and_logprobs_come_when_they_are_asked_for() -> None:
    def hear(listen: Listen, index: int) -> Heard:
        found = with_words(" one two", (0.5, 1.0), (1.0, 1.5))
        tokens = (HeardToken(" one", 5, -0.1), HeardToken(" two", 6, -0.2))
        return Heard(found.segments, "en", -0.1, 0.0, tokens)

    talk = Talk(FakeSource(in_a_row(1)), words=True, logprobs=True)
    value = talk.all(hear)
    assert value["words"] == [
        {"word": "one", "start": 0.5, "end": 1.0},
        {"word": "two", "start": 1.0, "end": 1.5},
    ]
    assert value["logprobs"][0] == {"token": " one", "bytes": list(b" one"), "logprob": -0.1}
    assert talk.context.deltas[0]["logprobs"] == value["logprobs"]


def test_without_timestamps_a_window_is_one_segment_from_its_first_speech_to_its_last() -> None:
    source = FakeSource([window(0, 5.0, 10.0, (1.0, 2.0), (4.0, 8.0))])
    value = Talk(source, timestamps=False).all(lambda listen, index: said(" hello"))
    (segment,) = value["segments"]
    assert (segment["start"], segment["end"]) == (6.0, 13.0)
    assert value["speech_end"] == 13.0


def test_prompt_and_task_reach_every_window() -> None:
    talk = Talk(FakeSource(in_a_row(2)), prompt="Onebox", task="translate")
    talk.all(number)
    assert {(listen.prompt, listen.task) for listen in talk.listened} == {("Onebox", "translate")}
