from __future__ import annotations

import random

import pytest

from onebox.language.answers.detokenizer import Detokenizer, kept_tokens
from tests.unit.language.fakes import BOS, CALL, EOS, FIRST_SPECIAL, FakeTokenizer

ROUNDS = 300


def pieces_of(tokenizer, ids, **options):
    detokenizer = Detokenizer(tokenizer, **options)
    return [*map(detokenizer.add, ids), detokenizer.finish()]


def random_ids(tokenizer, rng):
    """Some whole characters among them, so that faults lie beside what is right."""
    ids = []
    for _ in range(rng.randrange(1, 30)):
        if rng.random() < 0.3:
            ids += "€🙂ß日".encode()[: rng.randrange(1, 12)]
        else:
            ids.append(rng.randrange(tokenizer.vocab_size))
    return ids


def test_the_pieces_of_random_bytes_join_to_what_decode_gives():
    tokenizer = FakeTokenizer()
    rng = random.Random(1)
    for _ in range(ROUNDS):
        ids = random_ids(tokenizer, rng)
        assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids), ids


def test_faults_in_runs_of_single_bytes_become_as_many_marks_as_decode_makes():
    tokenizer = FakeTokenizer(pieces=True)
    rng = random.Random(2)
    for _ in range(ROUNDS):
        ids = []
        for _ in range(rng.randrange(1, 12)):
            # Each run is whole characters, or wrong from its first character on.
            run = rng.choice("€🙂ß").encode()
            ids += run if rng.random() < 0.5 else run[: rng.randrange(1, len(run))]
            ids.append(rng.randrange(256, FIRST_SPECIAL))
        assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids), ids


def test_what_was_right_in_a_run_of_bytes_that_goes_wrong_stays():
    tokenizer = FakeTokenizer(pieces=True)
    ids = [*"é".encode(), 0xFF, *tokenizer.encode("the", special=False)]
    assert "".join(pieces_of(tokenizer, ids)) == "é\ufffdthe"


@pytest.mark.parametrize("character", ["é", "日", "🙂"])
def test_a_character_comes_whole_with_its_last_byte(character):
    data = character.encode()
    assert pieces_of(FakeTokenizer(), data) == [*[""] * (len(data) - 1), character, ""]


def test_no_piece_splits_a_character():
    tokenizer = FakeTokenizer()
    ids = list("naïve 🙂 日本語 — “quoted”".encode())
    assert "\ufffd" not in "".join(pieces_of(tokenizer, ids))


def test_a_character_that_never_becomes_whole_is_given_as_one_mark_at_the_end():
    assert pieces_of(FakeTokenizer(), "🙂".encode()[:3]) == ["", "", "", "\ufffd"]


def test_special_tokens_are_no_text():
    tokenizer = FakeTokenizer()
    ids = [BOS, *tokenizer.encode("the", special=False), CALL, EOS]
    assert "".join(pieces_of(tokenizer, ids)) == "the"


def test_a_special_token_inside_a_character_does_not_break_it():
    first, *rest = "日".encode()
    assert "".join(pieces_of(FakeTokenizer(), [first, CALL, *rest])) == "日"


def test_special_tokens_that_are_kept_are_text():
    tokenizer = FakeTokenizer()
    kept = kept_tokens(tokenizer, ["<|call|>", "[UNKNOWN]", " world"])
    assert kept == {CALL: b"<|call|>"}
    assert pieces_of(tokenizer, [CALL, EOS], kept=kept) == ["<|call|>", "", ""]


def test_the_first_word_of_an_answer_loses_the_space_that_its_tokenizer_puts_before_it():
    tokenizer = FakeTokenizer(pieces=True)
    ids = tokenizer.encode(" world the", special=False)
    assert pieces_of(tokenizer, ids) == ["world", " the", ""]
    assert pieces_of(tokenizer, ids, strip=False) == [" world", " the", ""]


def test_the_space_stays_where_the_tokenizer_keeps_it():
    tokenizer = FakeTokenizer()
    ids = tokenizer.encode(" world", special=False)
    assert pieces_of(tokenizer, ids) == [" world", ""]


def test_a_space_alone_is_dropped_once():
    tokenizer = FakeTokenizer(pieces=True)
    ids = tokenizer.encode("  the", special=False)
    assert "".join(pieces_of(tokenizer, ids)) == tokenizer.decode(ids)


def test_a_special_token_does_not_count_as_the_first_word():
    tokenizer = FakeTokenizer(pieces=True)
    ids = [CALL, *tokenizer.encode(" world", special=False)]
    assert "".join(pieces_of(tokenizer, ids)) == "world"


def test_one_fault_of_several_tokens_is_one_mark_in_byte_level_text():
    ids = [*"🙂".encode()[:3], *b"x"]
    assert "".join(pieces_of(FakeTokenizer(), ids)) == "\ufffdx"
