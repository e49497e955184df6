"""What the sampler reports beside a token, and what becomes of rows that cannot have one."""

from __future__ import annotations

import gc
import math
import weakref
from typing import Any

import pytest
import torch

from onebox.core.decoding import Token
from onebox.core.errors import InferenceFailed, InvalidInput
from onebox.language.decoding.sampler import Sampler
from tests.language.sequences import Anything, Only, sequence

NAN = float("nan")


def only_token(logits: Any, one: Any) -> Token:
    (token,) = Sampler().sample(torch.tensor([logits]), [one])
    assert isinstance(token, Token)
    return token


class Failing(Only):
    def __init__(self, at: str) -> None:
        super().__init__(1)
        self.at = at

    def fill(self, bitmask: Any, row: int) -> bool:
        if self.at == "fill":
            bitmask[row] = -1
            raise InferenceFailed("the grammar took too long")
        return super().fill(bitmask, row)

    def accept(self, token_id: int) -> None:
        raise InferenceFailed("the grammar is lost")


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_log_probabilities_are_those_of_the_model_itself(temperature):
    logits = [0.5, 3.0, -1.0, 2.0, 3.0]
    total = sum(math.exp(logit) for logit in logits)
    true = [math.log(math.exp(logit) / total) for logit in logits]
    rules = {"logit_bias": {2: 100.0}, "repetition_penalty": 2.0, "top_logprobs": 3}
    token = only_token(logits, sequence([1], [3], Only(2, 3), temperature=temperature, **rules))
    assert token.id == 2
    assert token.logprob == pytest.approx(true[2], abs=1e-6)
    assert [one for one, _ in token.top] == [1, 4, 3]
    assert [value for _, value in token.top] == pytest.approx([true[1], true[4], true[3]])


def test_of_equal_tokens_those_with_the_lowest_ids_are_reported():
    token = only_token([1.0] * 100, sequence(temperature=0.0, top_logprobs=4))
    assert [one for one, _ in token.top] == [0, 1, 2, 3]


def test_no_more_alternatives_are_reported_than_there_are():
    token = only_token([1.0, 0.0, -math.inf], sequence(temperature=0.0, top_logprobs=20))
    assert [one for one, _ in token.top] == [0, 1]


def test_only_rows_that_ask_get_log_probabilities():
    logits = torch.tensor([[0.0, 1.0]] * 3)
    asking = [sequence(temperature=0.0, top_logprobs=count) for count in (None, 0, 1)]
    nothing, own, best = Sampler().sample(logits, asking)
    assert nothing == Token(1)
    assert own == Token(1, pytest.approx(-0.3132617))
    assert best == Token(1, pytest.approx(-0.3132617), ((1, pytest.approx(-0.3132617)),))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_may_have_any_float_dtype_and_stay_as_they_are(dtype, temperature):
    logits = torch.tensor([[0.0, 90.0, 1.0]], dtype=dtype)
    before = logits.clone()
    bias = {} if temperature else {0: 1.0}
    (token,) = Sampler().sample(logits, [sequence(temperature=temperature, logit_bias=bias)])
    assert token == Token(1)
    assert torch.equal(logits, before)


@pytest.mark.parametrize("bad", [NAN, math.inf])
@pytest.mark.parametrize(
    "rules", [{"temperature": 0.0}, {}, {"top_p": 0.5}, {"top_logprobs": 2, "top_k": 1}]
)
def test_a_row_without_usable_numbers_fails_alone(bad, rules):
    logits = torch.tensor([[0.0, 5.0, 1.0], [0.0, bad, 1.0], [7.0, 5.0, 1.0]])
    greedy = {"temperature": 0.0}
    matcher = Only(1)
    bad_row = sequence(matcher=matcher, **rules)
    first, failed, last = Sampler().sample(
        logits, [sequence(**greedy), bad_row, sequence(**greedy)]
    )
    assert first == Token(1)
    assert last == Token(0)
    assert isinstance(failed, InferenceFailed)
    assert "token 1 of the answer" in failed.message
    assert matcher.accepted == []


def test_a_row_of_nothing_but_minus_infinity_fails():
    for rules in ({"temperature": 0.0}, {}, {"top_k": 2}):
        (failed,) = Sampler().sample(torch.full((1, 9), -math.inf), [sequence(**rules)])
        assert isinstance(failed, InferenceFailed)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_grammar_that_leaves_nothing_fails_its_row_and_says_so(temperature):
    logits = torch.tensor([[0.0, -math.inf], [0.0, 2.0]])
    rows = [sequence(matcher=Only(1), temperature=temperature), sequence(temperature=0.0)]
    failed, token = Sampler().sample(logits, rows)
    assert isinstance(failed, InferenceFailed)
    assert "grammar" in failed.message
    assert token == Token(1)


@pytest.mark.parametrize("at", ["fill", "accept"])
def test_a_grammar_that_fails_takes_only_its_own_row_with_it(at):
    logits = torch.tensor([[0.0, 1.0, 2.0]] * 3)
    rows = [sequence(matcher=matcher) for matcher in (Failing(at), Only(0), Only(1))]
    failed, *others = Sampler().sample(logits, rows)
    assert isinstance(failed, InferenceFailed)
    assert not isinstance(failed, InvalidInput)
    assert others == [Token(0), Token(1)]


def test_a_grammar_is_told_of_its_token():
    allowed, free = Only(2, 40), Anything(0)
    rows = [sequence(matcher=one, temperature=0.0) for one in (free, allowed)]
    logits = torch.arange(64.0).expand(2, -1)
    assert Sampler().sample(logits, rows) == [Token(63), Token(40)]
    assert free.accepted == [63]
    assert allowed.accepted == [40]
    assert rows[1].output == []


def test_tokens_without_a_logit_change_nothing():
    rules = {"repetition_penalty": 2.0, "logit_bias": {99: 50.0, -1: 50.0}, "temperature": 0.0}
    logits = torch.tensor([[1.0, 3.0], [5.0, 1.0]])
    rows = [sequence([99, 7], **rules), sequence([2], **rules)]
    assert Sampler().sample(logits, rows) == [Token(1), Token(0)]


def test_no_rows_are_no_tokens():
    assert Sampler().sample(torch.empty(0, 5), []) == []


def test_a_sequence_is_not_kept_by_what_was_counted_of_it():
    class Cache:
        """Stands for keys and values, which must go with their sequence."""

    sampler = Sampler()
    one = sequence(output=[1], presence_penalty=1.0)
    one.state = Cache()
    gone = weakref.ref(one.state)
    sampler.sample(torch.zeros(1, 4), [one])
    del one
    gc.collect()
    assert gone() is None
