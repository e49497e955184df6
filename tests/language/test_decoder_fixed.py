"""`deterministic`: no bit of a text depends on what is computed beside it, before it, or again."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from onebox.core.decoding import Token, TokenSequence
from onebox.language.decoding.batch import Forward, Work
from onebox.language.decoding.kv_cache import KvMemory, KvRow
from onebox.language.decoding.library_pass import LibraryPass
from onebox.language.decoding.llama import LlamaPass
from tests.language.decoder_kinds import ALL, GEMMA, WINDOW, long
from tests.language.decoding import decoder_of, model, prompt, text

# Wide enough that matrix products take other ways for other numbers of rows.
WIDE = {"hidden_size": 320, "intermediate_size": 600, "head_dim": 64}
FULL, HALF = torch.float32, torch.bfloat16
KINDS: dict[str, tuple[Any, torch.dtype]] = {
    "llama": (lambda: long("llama", **WIDE), HALF),
    "llama-float32": (lambda: long("llama", **WIDE), FULL),
    "llama-int8": (lambda: long("llama", **WIDE), HALF),
    "mistral-window": (lambda: long("mistral", **WIDE, sliding_window=WINDOW), HALF),
    "mixtral": (lambda: long("mixtral", **WIDE, num_local_experts=4), FULL),
    "gemma2": (lambda: long("gemma2", **GEMMA), HALF),
    "mamba": (ALL["mamba"], FULL),
}
# The last one is of one token; blocks end before, in and behind the others.
LENGTHS = (5, 65, 130, 64, 33, 90, 128, 66, 1)
TOKENS = 5

Written = list[Token]


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def decoder(kind: str) -> Any:
    create, dtype = KINDS[kind]
    overrides = {"quantization": "int8"} if kind.endswith("int8") else {}
    return decoder_of(create(), dtype, **overrides)


@pytest.fixture(scope="module")
def written_alone(decoder: Any) -> list[Written]:
    found = []
    for number in range(len(LENGTHS)):
        decoder.drop_kept()
        found += bits(decoder, [fixed(number)])
    return found


@pytest.fixture
def alone(decoder: Any, written_alone: list[Written]) -> list[Written]:
    """What is expected; and nothing is kept."""
    decoder.drop_kept()
    return written_alone


def fixed(number: int) -> TokenSequence:
    ids = prompt(LENGTHS[number])
    return text(ids, TOKENS, deterministic=True, temperature=1.0, seed=number, top_logprobs=3)


def free(number: int) -> TokenSequence:
    """Other prompts, of the same lengths or one longer."""
    return text(prompt(LENGTHS[number] + number % 2, 7), TOKENS, temperature=1.0, seed=number)


def bits(
    decoder: Any, texts: list[TokenSequence], joins: list[int] | None = None, pauses: float = 0.0
) -> list[Written]:
    """The tokens of each text with their log-probabilities; now and then one is paused."""
    rng = random.Random(3)
    found: dict[int, Written] = {id(one): [] for one in texts}
    step = 0
    while any(len(one.output) < TOKENS for one in texts):
        starts = joins or [0] * len(texts)
        active = [
            one
            for one, start in zip(texts, starts, strict=True)
            if start <= step and len(one.output) < TOKENS
        ]
        for one in active:
            if rng.random() < pauses:
                decoder.drop(one)
        for one, token in decoder.step(active):
            one.output.append(token.id)
            found[id(one)].append(token)
            if len(one.output) == TOKENS:
                decoder.drop(one)
        step += 1
    return [found[id(one)] for one in texts]


def test_texts_are_the_same_with_any_number_of_others(decoder: Any, alone: list[Written]) -> None:
    for count in (2, 7, 8, 9):
        decoder.drop_kept()
        assert bits(decoder, [fixed(number) for number in range(count)]) == alone[:count]


def test_texts_are_the_same_among_others_of_both_kinds(decoder: Any, alone: list[Written]) -> None:
    every = range(len(LENGTHS))
    texts = [*map(fixed, every), *map(free, every), *map(free, range(3))]
    joins = [number % 4 * 3 for number in range(len(texts))]
    assert bits(decoder, texts, joins)[: len(LENGTHS)] == alone


def test_texts_are_the_same_in_any_order(decoder: Any, alone: list[Written]) -> None:
    order = list(range(len(LENGTHS)))
    random.Random(1).shuffle(order)
    joins = [place // 2 for place in range(len(order))]
    assert bits(decoder, list(map(fixed, order)), joins) == [alone[place] for place in order]


def test_texts_are_the_same_with_a_cached_prefix(
    decoder: Any, alone: list[Written], kind: str
) -> None:
    bits(decoder, [fixed(number) for number in range(len(LENGTHS))])
    again = [fixed(number) for number in range(len(LENGTHS))]
    assert bits(decoder, again) == alone
    keeps = kind not in {"gemma2", "mamba"}
    assert [one.cached for one in again] == [(size - 1) // 64 * 64 * keeps for size in LENGTHS]


def test_texts_are_the_same_after_what_free_ones_left(decoder: Any, alone: list[Written]) -> None:
    """The same prompts computed otherwise are no prefix for them."""
    others = [text(prompt(size), TOKENS) for size in LENGTHS]
    bits(decoder, others)
    again = [fixed(number) for number in range(len(LENGTHS))]
    assert bits(decoder, again) == alone
    assert not any(one.cached for one in again[:1])


def test_texts_are_the_same_after_pauses(decoder: Any, alone: list[Written]) -> None:
    every = range(len(LENGTHS))
    texts = [*map(fixed, every), *map(free, every)]
    assert bits(decoder, texts, pauses=0.1)[: len(LENGTHS)] == alone


@pytest.mark.parametrize("create", [LlamaPass, LibraryPass])
@pytest.mark.parametrize("dtype", [FULL, HALF], ids=str)
def test_a_row_of_a_pass_is_the_same_at_every_place(create: Any, dtype: torch.dtype) -> None:
    """What all of the above rests on, for rows of one token and for prompts beside idle rows."""
    compute = create(model(long("llama", **WIDE), dtype))
    memory = KvMemory(compute.shape)

    def logits(order: list[int]) -> dict[int, torch.Tensor]:
        works = []
        for seed in order:
            row = KvRow.create(memory, 64)
            one = TokenSequence(prompt=prompt(20, seed), max_tokens=1, sampling=None)
            with torch.inference_mode():
                first = Forward([], [Work(one, row, 19)], compute.shape.device, fixed_rows=64)
                compute(first)
                first.finish()
            works.append(Work(one, row, 1))
        forward = Forward([], works, compute.shape.device, fixed_rows=8, fixed_wanted=8)
        with torch.inference_mode():
            return dict(zip(order, compute(forward), strict=False))

    whole = logits(list(range(8)))
    for order in ([7, 6, 5, 4, 3, 2, 1, 0], [3, 0, 6], [5]):
        for seed, row in logits(order).items():
            assert torch.equal(row, whole[seed])
