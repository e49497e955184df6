from __future__ import annotations

import pytest

from onebox.services.live_buffer import FULL_S, PAUSE_S, TAIL_S, Heard, LiveBuffer, Phrase, settle

TWO = [Phrase("One.", 0.5, 9.0), Phrase(" Two.", 9.0, 24.9)]


def heard(*phrases: Phrase, speech_end: float | None = None) -> Heard:
    return Heard("".join(phrase.text for phrase in phrases), list(phrases), "en", speech_end)


def test_silence_is_dropped_but_for_where_a_word_may_begin():
    settled = settle(heard(), 1.0, to_the_end=False)
    assert (list(settled.phrases), settled.done_s) == ([], 1.0 - TAIL_S)


def test_less_silence_than_that_is_kept():
    assert settle(heard(), TAIL_S / 2, to_the_end=False).done_s == 0


def test_what_is_followed_by_speech_or_a_short_pause_may_still_change():
    one = Phrase("One.", 0.5, 2.0)
    for length_s in (2.0, 2.0 + PAUSE_S - 0.01):
        settled = settle(heard(one, speech_end=2.0), length_s, to_the_end=False)
        assert (list(settled.phrases), settled.done_s) == ([], 0)


def test_a_pause_makes_all_before_it_final():
    one = Phrase("One.", 0.5, 2.1)
    settled = settle(heard(one, speech_end=2.0), 3.0, to_the_end=False)
    assert (settled.phrases, settled.done_s) == ([one], 3.0 - TAIL_S)


def test_a_pause_that_is_over_counts_too():
    phrases = [Phrase("One.", 0.5, 2.0), Phrase("Two.", 3.0, 4.0), Phrase("Three", 4.2, 5.0)]
    settled = settle(heard(*phrases, speech_end=5.0), 5.0, to_the_end=False)
    assert (settled.phrases, settled.done_s) == (phrases[:1], 3.0 - TAIL_S)


def test_a_phrase_that_ends_after_its_speech_is_not_cut():
    one = Phrase("One.", 0.5, 2.9)
    assert settle(heard(one, speech_end=2.0), 3.0, to_the_end=False).done_s == 0


def test_sounds_that_are_no_words_are_dropped_after_a_pause():
    settled = settle(heard(speech_end=2.0), 4.0, to_the_end=False)
    assert (list(settled.phrases), settled.done_s) == ([], 4.0 - TAIL_S)


def test_speech_without_a_pause_is_final_but_for_a_phrase_that_may_be_cut_off():
    settled = settle(heard(*TWO, speech_end=FULL_S), FULL_S, to_the_end=False)
    assert (settled.phrases, settled.done_s) == (TWO[:1], 9.0)


def test_a_phrase_that_ends_before_the_end_of_the_sound_is_whole():
    settled = settle(heard(*TWO, speech_end=25.6), 26.0, to_the_end=False)
    assert (settled.phrases, settled.done_s) == (TWO, 24.9)


@pytest.mark.parametrize(
    "phrases", [[], [Phrase("A", 0.0, 0.2)], [Phrase("A", 0.0, 0.2), Phrase("B", 0.2, FULL_S)]]
)
def test_full_sound_always_moves_on(phrases):
    assert settle(heard(*phrases, speech_end=FULL_S), FULL_S, to_the_end=False).done_s == FULL_S


def test_all_is_final_at_a_commit():
    settled = settle(heard(*TWO, speech_end=24.9), 25.0, to_the_end=True)
    assert (settled.phrases, settled.done_s) == (TWO, 25.0)


def test_a_buffer_counts_samples_and_joins_halves():
    buffer = LiveBuffer()
    buffer.add(b"\1")
    assert buffer.end == 0
    buffer.add(b"\2\3\4\5")
    assert (buffer.start, buffer.end, buffer.until(1)) == (0, 2, b"\1\2")
    buffer.drop(1)
    buffer.add(b"\6")
    assert (buffer.start, buffer.end, buffer.until(3)) == (1, 3, b"\3\4\5\6")


def test_a_buffer_drops_no_more_than_it_has():
    buffer = LiveBuffer()
    buffer.add(b"\1\2\3")
    buffer.drop(9)
    assert (buffer.start, buffer.end) == (1, 1)
