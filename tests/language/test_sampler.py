"""The sampler against a slow one written from the definitions, in Python floats."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from onebox.core.decoding import Token, TokenSequence
from onebox.language.decoding.drawing import uniform_number
from onebox.language.decoding.sampler import Sampler
from tests.language.sequences import Only, sequence

DRAWS = 2000


def kept_shares(logits: list[float], one: TokenSequence) -> dict[int, float]:
    """The probability of every token that may come, by the definitions."""
    scores = dict(enumerate(logits))
    if one.matcher is not None:
        scores = {token: score for token, score in scores.items() if token in one.matcher.allowed}
    own = one.sampling
    for token in scores:
        score = scores[token] + own.logit_bias.get(token, 0.0)
        if token in one.prompt or token in one.output:
            penalty = own.repetition_penalty
            score = score * penalty if score < 0 else score / penalty
        score -= own.frequency_penalty * one.output.count(token)
        score -= own.presence_penalty * (token in one.output)
        scores[token] = score
    order = sorted(scores, key=lambda token: (-scores[token], token))
    if own.temperature == 0:
        return {order[0]: 1.0}
    heaviest = scores[order[0]]
    weights = {token: math.exp((scores[token] - heaviest) / own.temperature) for token in order}
    order = order[: own.top_k or None]
    total, reached, kept = sum(weights[token] for token in order), 0.0, []
    for token in order:
        if kept and reached >= own.top_p * total:
            break
        kept.append(token)
        reached += weights[token]
    kept = [token for token in kept if weights[token] >= own.min_p]
    total = sum(weights[token] for token in kept)
    return {token: weights[token] / total for token in kept}


def drawn_shares(logits: list[float], make: Callable[[int], TokenSequence]) -> dict[int, float]:
    """How often each token comes when the uniform number takes `DRAWS` evenly spaced values."""
    sampler = Sampler(uniform=lambda seed, _: (seed + 0.5) / DRAWS)
    row = torch.tensor([logits])
    found: dict[int, float] = {}
    for start in range(0, DRAWS, 500):
        sequences = [make(seed) for seed in range(start, start + 500)]
        for token in sampler.sample(row.expand(500, -1), sequences):
            assert isinstance(token, Token)
            found[token.id] = found.get(token.id, 0) + 1 / DRAWS
    return found


def one_token(logits: torch.Tensor, one: TokenSequence) -> int:
    (token,) = Sampler().sample(logits, [one])
    assert isinstance(token, Token)
    return token.id


RULES: list[dict[str, Any]] = [
    {},
    {"temperature": 0.5},
    {"temperature": 1.7, "top_k": 7},
    {"top_p": 0.6},
    {"top_p": 0.0},
    {"min_p": 0.2},
    {"min_p": 0.3, "top_k": 20},
    {"top_k": 20, "top_p": 0.8, "min_p": 0.05, "temperature": 1.3},
    {"logit_bias": {3: 5.0, 4: -100.0, 70: 2.0}},
    {"repetition_penalty": 1.4},
    {"repetition_penalty": 0.7, "top_k": 9},
    {"frequency_penalty": 0.9, "presence_penalty": -0.4},
    {
        "logit_bias": {5: 1.0, 36: -1.5},
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.5,
        "presence_penalty": 0.3,
        "temperature": 0.8,
        "top_k": 30,
        "top_p": 0.9,
    },
]


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("allowed", [None, (1, 3, 5, 31, 32, 36, 63, 64)])
def test_every_token_comes_as_often_as_the_definitions_say(rules, allowed):
    chance = random.Random(7)
    logits = [chance.gauss(0, 2) for _ in range(97)]
    prompt, output = [3, 5, 5, 8, 90], [5, 36, 36, 2, 36]

    def make(seed: int) -> TokenSequence:
        matcher = Only(*allowed) if allowed else None
        return sequence(prompt, output, matcher, seed=seed, **rules)

    expected = kept_shares(logits, make(0))
    found = drawn_shares(logits, make)
    assert set(found) <= set(expected)
    for token, share in expected.items():
        assert found.get(token, 0) == pytest.approx(share, abs=1.5 / DRAWS)


@pytest.mark.parametrize("rules", [{}, *RULES[8:]])
def test_greedy_takes_the_largest_after_grammar_bias_and_penalties(rules):
    chance = random.Random(3)
    for _ in range(20):
        logits = [chance.gauss(0, 1) for _ in range(97)]
        one = sequence([3, 5, 8], [5, 36, 36], **{**rules, "temperature": 0.0})
        (expected,) = kept_shares(logits, one)
        assert one_token(torch.tensor([logits]), one) == expected


def test_of_equal_logits_greedy_takes_the_lowest_id():
    logits = torch.tensor([[1.0, 4.0, 2.0, 4.0]])
    assert one_token(logits, sequence(temperature=0.0)) == 1
    assert one_token(logits, sequence(temperature=0.0, logit_bias={2: 2.0})) == 1


def test_of_equal_logits_top_k_and_top_p_keep_the_lowest_ids():
    logits = [0.0] * 40
    assert set(drawn_shares(logits, lambda seed: sequence(top_k=3, seed=seed))) == {0, 1, 2}
    assert set(drawn_shares(logits, lambda seed: sequence(top_p=0.05, seed=seed))) == {0, 1}


@pytest.mark.parametrize("rules", [{"top_k": 3000}, {"top_p": 0.7}, {"top_k": 2000, "top_p": 0.9}])
def test_a_flat_distribution_keeps_more_tokens_than_are_first_looked_at(rules):
    logits = [(17 * token % 5000) / 5000 for token in range(5000)]
    expected = sorted(kept_shares(logits, sequence(**rules)))
    sampler = Sampler(uniform=lambda seed, _: 1 - 2**-53 if seed else 0.0)
    sequences = [sequence(seed=seed, **rules) for seed in (0, 1)]
    first, last = sampler.sample(torch.tensor([logits, logits]), sequences)
    assert isinstance(first, Token)
    assert isinstance(last, Token)
    # The definition's sums are rounded: its last token may be one further.
    assert first.id in expected[:2]
    assert last.id in expected[-2:]


def test_a_row_is_the_same_alone_and_beside_others():
    torch.manual_seed(1)
    logits = (torch.randn(23, 4999) * 3).bfloat16()
    chance = random.Random(5)

    def make(row: int) -> TokenSequence:
        rules = {**RULES[row % len(RULES)], "top_logprobs": row % 4 or None}
        if row % 5 == 0:
            rules["temperature"] = 0.0
        matcher = Only(*range(row, 4999, 3)) if row % 7 == 0 else None
        return sequence([row, 9, 9], [9, row, 77], matcher, seed=row, **rules)

    rows = list(range(23))
    together = dict(zip(rows, Sampler().sample(logits, [make(row) for row in rows]), strict=True))
    chance.shuffle(rows)
    some = rows[:6]
    beside = Sampler().sample(logits[some], [make(row) for row in some])
    assert beside == [together[row] for row in some]
    for row in rows:
        assert Sampler().sample(logits[row : row + 1], [make(row)]) == [together[row]]


def test_a_token_depends_on_the_seed_and_its_number_alone():
    logits = torch.zeros(1, 50_000)
    at = [one_token(logits, sequence(output=[1] * k, seed=5)) for k in range(20)]
    assert at == [one_token(logits, sequence(output=[2] * k, seed=5)) for k in range(20)]
    assert at != [one_token(logits, sequence(output=[1] * k, seed=6)) for k in range(20)]
    assert len(set(at)) > 10


def test_uniform_numbers_are_the_same_on_every_machine_and_fill_their_range():
    assert uniform_number(0, 0) == 0.0564663990004608
    assert uniform_number(2**64 - 1, 7) == 0.9622429077364113
    numbers = [uniform_number(seed, place) for seed in range(100) for place in range(100)]
    tenths = [sum(number * 10 // 1 == tenth for number in numbers) for tenth in range(10)]
    assert sum(tenths) == 10_000
    assert min(tenths) > 900


def test_counts_follow_a_growing_output_and_one_that_was_cut_back():
    sampler = Sampler()
    logits = torch.zeros(1, 8)
    one = sequence([0], [], temperature=0.0, frequency_penalty=1.0)

    def following() -> int:
        (token,) = sampler.sample(logits, [one])
        assert isinstance(token, Token)
        return token.id

    for expected in [0, 1, 2, 3]:
        assert following() == expected
        one.output.append(expected)
    del one.output[1:]
    assert following() == 1
    one.output += [1, 2, 3, 4]
    assert following() == 5
