"""Prompts that do not fit are refused with both numbers."""

from __future__ import annotations

import pytest

from onebox.core.errors import ContextOverflow
from onebox.language.prompts.encode import check_context, refuse_far_too_long
from tests.unit.language.fakes import FakeTokenizer


@pytest.mark.parametrize(("prompt", "wanted"), [(99, 1), (99, None), (100, 0), (1, 99), (0, None)])
def test_what_fits_to_the_last_token_is_let_through(prompt, wanted):
    check_context(prompt, wanted, 100)


@pytest.mark.parametrize(
    ("prompt", "wanted", "words"),
    [
        (100, None, ["100 tokens", "has 100;", "shorten messages"]),
        (100, 1, ["has 100", "1 more", "shorten messages"]),
        (60, 41, ["100 tokens", "60", "41 more", "at most 40"]),
        (5000, 16, ["5000", "16 more"]),
        (101, 0, ["101"]),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers_and_the_remedy(prompt, wanted, words):
    with pytest.raises(ContextOverflow) as error:
        check_context(prompt, wanted, 100)
    assert all(word in error.value.message for word in words)
    assert error.value.param == "messages"
    assert error.value.code == "context_length_exceeded"
    assert error.value.details == {
        "prompt_tokens": prompt,
        "max_tokens": wanted,
        "context_length": 100,
    }


def test_the_refusal_names_the_field_that_was_too_long():
    with pytest.raises(ContextOverflow, match="shorten prompt") as error:
        check_context(100, 16, 100, param="prompt")
    assert error.value.param == "prompt"


class Counting(FakeTokenizer):
    """Notes how many characters it was given."""

    def __init__(self):
        super().__init__()
        self.seen = 0

    def encode(self, text, *, special):
        self.seen += len(text)
        return super().encode(text, special=special)


def test_of_a_text_beyond_all_measure_only_so_much_is_read_as_tells_that():
    tokenizer = Counting()
    with pytest.raises(ContextOverflow) as error:
        refuse_far_too_long(tokenizer, "x" * 5_000_000, 100_000)
    assert tokenizer.seen < 300_000
    # An estimate, from which a conversation can be shortened.
    assert error.value.details["prompt_tokens"] == pytest.approx(5_000_000, rel=0.01)


@pytest.mark.parametrize(("length", "context"), [(60_000, 100), (190_000, 100_000), (0, 10)])
def test_what_may_fit_or_is_short_is_left_to_the_exact_count(length, context):
    refuse_far_too_long(Counting(), "x" * length, context)


def test_a_long_text_of_few_tokens_is_not_far_too_long():
    refuse_far_too_long(Counting(), " world" * 100_000, 60_000)
