"""Rounds of texts, requests of texts, and tokens of texts: without weights."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ContextOverflow, InferenceFailed
from onebox.core.piecework import Piece
from onebox.core.results import Output
from onebox.language.encoding import rounds
from onebox.language.encoding.encoder import _parts
from onebox.language.encoding.piecework import TextPieces, usage
from onebox.language.encoding.texts import EncodedText, TextEncoding, _shares


def text(length: int, first: int = 0) -> EncodedText:
    return EncodedText(array("i", [first] * length).tobytes())


def piece(length: int, first: int = 0) -> Piece:
    return Piece("text", length, text(length, first))


def test_a_round_has_the_first_piece_and_the_nearest_in_length():
    pieces = [piece(50), piece(4), piece(48), piece(200), piece(52), piece(10)]
    chosen = rounds.choose(pieces, 160)
    assert [one.size for one in chosen] == [50, 48, 52]
    assert chosen[0] is pieces[0]


def test_a_piece_longer_than_a_round_goes_alone():
    pieces = [piece(500), piece(499), piece(3)]
    assert rounds.choose(pieces, 100) == pieces[:1]


def test_padding_counts_against_a_round():
    pieces = [piece(10), piece(10, 1), piece(30)]
    assert rounds.choose(pieces, 89) == pieces[:2]
    assert rounds.choose(pieces, 90) == pieces


def test_equal_texts_of_several_requests_count_once():
    pieces = [piece(10), piece(10), piece(10), piece(10, 1)]
    assert rounds.choose(pieces, 10) == pieces[:3]


def test_larger_models_get_smaller_rounds_on_a_cpu():
    def tokens(size: int, kind: Any = "cpu") -> int:
        device = Device(kind, kind, kind, kind, "host", 1, 1, "float32", "float32")
        entry = Entry("k", "m", "/m", "", size, "ready", facts={"max_tokens": 512, "width": 8})
        return rounds.budget(entry, device)

    assert tokens(90_000_000) > tokens(300_000_000) > tokens(3_000_000_000) >= 256
    assert tokens(3_000_000_000, "cuda") > tokens(90_000_000)


class Counting:
    """An encoder whose numbers are a text's length; NaN for texts of one token."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def compute(self, texts: Any, between: Any, *, budget: int) -> Any:
        self.asked += map(len, texts)
        return np.array(
            [[float(len(one)) if len(one) > 1 else np.nan] for one in texts], np.float32
        )


def test_equal_texts_are_computed_once_and_each_gets_its_row():
    encoder: Any = Counting()
    pieces = [piece(3), piece(2), piece(3)]
    rows = rounds.compute(encoder, pieces, lambda: None, 100)
    assert [float(row[0]) for row in rows] == [3.0, 2.0, 3.0]
    assert encoder.asked == [3, 2]


def test_a_text_without_finite_numbers_fails_alone():
    encoder: Any = Counting()
    rows = rounds.compute(encoder, [piece(3), piece(1)], lambda: None, 100)
    assert float(rows[0][0]) == 3.0
    assert isinstance(rows[1], InferenceFailed)


def test_parts_of_a_round_keep_to_the_budget_with_their_padding():
    lengths = [40, 30, 30, 9, 8, 1]
    parts = list(_parts([text(length) for length in lengths], 60))
    assert [index for part in parts for index in part] == list(range(len(lengths)))
    for part in parts:
        assert len(part) == 1 or lengths[part[0]] * len(part) <= 60


def finished(rows: list[Any]) -> list[Output]:
    return [Output("json", rows)]


def test_equal_texts_of_a_request_are_one_piece_and_the_longest_come_first():
    pieces = TextPieces([text(2), text(5), text(2), text(3)], finished)
    ready = pieces.ready(10)
    assert [one.size for one in ready] == [5, 3, 2]
    assert pieces.ready(1) == ready[:1]
    for one in ready:
        assert not pieces.done
        pieces.accept(one, one.size)
    assert pieces.done
    assert pieces.ready(10) == []
    assert pieces.outputs()[0].value == [2, 5, 2, 3]


def test_a_piece_is_given_until_its_result_is_there():
    pieces = TextPieces([text(2), text(5)], finished)
    first, second = pieces.ready(2)
    pieces.accept(second, 0)
    assert pieces.ready(2) == [first]


def test_an_error_of_a_piece_ends_its_request():
    pieces = TextPieces([text(2)], finished)
    with pytest.raises(InferenceFailed):
        pieces.accept(pieces.ready(1)[0], InferenceFailed("not finite"))


def test_usage_counts_every_text_of_a_request():
    assert usage([text(2), text(2), text(3)]) == {"prompt_tokens": 7, "total_tokens": 7}


class Encoding:
    """As of the `tokenizers` library: a token a character."""

    def __init__(self, ids: list[int], types: list[int]) -> None:
        self.ids, self.type_ids = ids, types

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        return [(place, place + 1) for place in range(len(self.ids))]

    @property
    def special_tokens_mask(self) -> list[int]:
        return [int(id_ < 3) for id_ in self.ids]

    def truncate(self, length: int) -> None:
        self.ids, self.type_ids = self.ids[:length], self.type_ids[:length]


class Backend:
    """[1] text [2], or [1] text [2] text [2]."""

    def encode(self, given: str, add_special_tokens: bool) -> Encoding:
        found = Encoding([ord(char) for char in given], [0] * len(given))
        return self.post_process(found, None, True) if add_special_tokens else found

    def encode_batch_fast(self, inputs: Any, add_special_tokens: bool) -> list[Encoding]:
        return [
            self.encode(given, True)
            if isinstance(given, str)
            else self.post_process(*(self.encode(one, False) for one in given), True)
            for given in inputs
        ]

    def post_process(self, first: Encoding, second: Encoding | None, special: bool) -> Encoding:
        ids, types = [1, *first.ids, 2], [0] * (len(first) + 2)
        if second is not None:
            ids, types = [*ids, *second.ids, 2], types + [1] * (len(second) + 1)
        return Encoding(ids, types)

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return 3 if is_pair else 2


class Tokenizer:
    backend = Backend()
    has_segments = True


def encoding(limit: int = 10, *, lower: bool = False) -> TextEncoding:
    tokenizer: Any = Tokenizer()
    return TextEncoding(tokenizer, limit, lower=lower)


def ids(encoded: EncodedText) -> list[int]:
    return list(array("i", encoded.ids))


def read(encoded: EncodedText) -> str:
    return "".join(chr(id_) if id_ > 2 else "|" for id_ in ids(encoded))


def test_a_prompt_comes_before_each_text_and_its_tokens_are_known():
    found = encoding().texts(["ab", "c"], prompt="q:", truncate=False, skip_prompt=True)
    assert [read(one) for one in found] == ["|q:ab|", "|q:c|"]
    assert [one.prompt_tokens for one in found] == [3, 3]
    (plain,) = encoding().texts(["ab"], prompt="q:", truncate=False)
    assert plain.prompt_tokens == 0


def test_a_text_that_is_too_long_is_named_by_its_index_and_both_numbers():
    with pytest.raises(ContextOverflow) as refusal:
        encoding().texts(["abc", "a" * 20], truncate=False)
    assert refusal.value.param == "input"
    assert refusal.value.details == {"index": 1, "tokens": 22, "max_tokens": 10}
    with pytest.raises(ContextOverflow) as refusal:
        encoding().texts(["a" * 20], truncate=False, places=[7])
    assert refusal.value.details["index"] == 7


def test_a_text_of_megabytes_is_refused_with_an_estimate():
    with pytest.raises(ContextOverflow) as refusal:
        encoding().texts(["a", "a" * 1_000_000], truncate=False)
    assert refusal.value.details["index"] == 1
    assert refusal.value.details["tokens"] == pytest.approx(1_000_000, rel=0.01)


def test_a_text_is_cut_inside_its_marks():
    (found,) = encoding().texts(["abcdefghijklmnop"], truncate=True)
    assert read(found) == "|abcdefgh|"


def test_pairs_carry_segments_and_lose_of_the_longer_text_first():
    fits, cut = encoding().pairs("ab", ["cd", "cdefghijk"], truncate=True)
    assert (read(fits), list(fits.segments)) == ("|ab|cd|", [0, 0, 0, 0, 1, 1, 1])
    assert read(cut) == "|ab|cdefg|"
    with pytest.raises(ContextOverflow) as refusal:
        encoding().pairs("ab", ["cd", "cdefghijk"], truncate=False)
    assert (refusal.value.param, refusal.value.details["index"]) == ("documents", 1)


@pytest.mark.parametrize(
    ("first", "second", "room", "shares"),
    [
        (3, 4, 10, (3, 4)),
        (3, 40, 10, (3, 7)),
        (40, 3, 10, (7, 3)),
        (40, 50, 11, (5, 6)),
        (50, 40, 11, (6, 5)),
        (5, 5, 0, (0, 0)),
    ],
)
def test_the_shorter_of_two_texts_stays_whole_up_to_half_of_the_room(
    first: int, second: int, room: int, shares: tuple[int, int]
):
    assert _shares(first, second, room) == shares


def test_token_ids_are_taken_as_they_are():
    found = encoding().ids([5, 6, 7], 0, truncate=False)
    assert ids(found) == [5, 6, 7]
    assert ids(encoding().ids(list(range(30)), 0, truncate=True)) == list(range(10))
    with pytest.raises(ContextOverflow) as refusal:
        encoding().ids(list(range(30)), 4, truncate=False)
    assert refusal.value.details == {"index": 4, "tokens": 30, "max_tokens": 10}


def test_texts_are_put_in_lower_case_letter_by_letter():
    (found,) = encoding(lower=True).texts(["AB\u03a3"], truncate=False)
    assert read(found) == "|ab\u03c3|"
