from __future__ import annotations

import pytest

from onebox.audio.synthesis.text.cleaning import clean
from onebox.audio.synthesis.text.normalize import normalize
from onebox.audio.synthesis.text.sentences import (
    MAX_CHARACTERS,
    MAX_FIRST_CHARACTERS,
    fitted,
    split_sentences,
)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One here. Two here! Three?", ["One here.", "Two here!", "Three?"]),
        ("Dr. Smith paid $3.50. He left.", ["Dr. Smith paid $3.50.", "He left."]),
        ("At 5 p.m. He left.", ["At 5 p.m.", "He left."]),
        ("Mr. J. R. R. Tolkien wrote.", ["Mr. J. R. R. Tolkien wrote."]),
        ('"I am here. You are." He left.', ['"I am here. You are."', "He left."]),
        ("See www.example.com. Go.", ["See www.example.com.", "Go."]),
        ("今日は晴れ。明日は雨！", ["今日は晴れ。", "明日は雨!"]),  # noqa: RUF001
        ("- one\n- two", ["one", "two"]),
        ("1. First thing\n2. Second", ["1, First thing", "2, Second"]),
        ("Title\n\nText here.", ["Title", "Text here."]),
        (
            "a line that is full and goes on for a good while in the\nnext one.",
            ["a line that is full and goes on for a good while in the next one."],
        ),
        ("You need:\neggs", ["You need:", "eggs"]),
    ],
)
def test_a_text_is_split_where_its_sentences_end(text, sentences):
    assert split_sentences(clean(text), "en") == sentences


def test_a_long_sentence_is_cut_at_its_clauses():
    clause = "and then we went on along the river, "
    pieces = fitted([(clause * 30).strip()])
    assert " ".join(pieces) == (clause * 30).strip()
    assert all(piece.endswith(",") for piece in pieces)
    assert len(pieces[0]) <= MAX_FIRST_CHARACTERS
    assert max(map(len, pieces)) <= MAX_CHARACTERS


def test_a_sentence_without_clauses_is_cut_between_words():
    pieces = fitted(["word " * 200])
    assert " ".join(pieces) == ("word " * 200).strip()
    assert max(map(len, pieces)) <= MAX_CHARACTERS


def test_a_word_without_end_is_cut_anywhere():
    pieces = fitted(["x" * 1000])
    assert "".join(pieces) == "x" * 1000
    assert max(map(len, pieces)) <= MAX_CHARACTERS


def test_short_sentences_go_together_but_the_first_is_not_kept_waiting():
    first, *rest = fitted(["That is right.", "Yes.", "No.", "Maybe it is so, after all."])
    assert first == "That is right."
    assert rest == ["Yes. No. Maybe it is so, after all."]


HOSTILE = [
    ".", '"', "(", ". ", "a. ", "A.B.", "?!", "1.", "\n", "(a. ", "。", "a", "9", "1,", "$1", "1/",
    "1-", "a@", "a.a.", "[a](", "[", "*", "_", "# ", "A", "1:", " ", "-", "Jan ", "1 Jan ", "'",
    "a'", "é", "1st", "+1 ", "www.", "~", "`", "\u0301", "5'", "St. ", "No. ", "`a", "|", "a-",
    "I V ",
]  # fmt: skip


@pytest.mark.parametrize("part", HOSTILE)
def test_the_longest_text_of_anything_is_split_and_cut(part):
    """A pattern that looks back over and over would take minutes here."""
    text = (part * 4096)[:4096]
    spoken = [normalize(sentence, "en") for sentence in split_sentences(clean(text), "en")]
    pieces = fitted(spoken)
    assert max(map(len, pieces), default=0) <= MAX_CHARACTERS
