"""What is known of a prompt's beginning is not computed again."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from onebox.core.decoding import TokenSequence
from onebox.language.decoding.batch_decoder import BatchDecoder
from onebox.language.decoding.llama import LlamaPass
from tests.language.decoder_kinds import long
from tests.language.decoding import KEEP_BYTES, decoder_of, generated, model, prompt, text, write


class Watched:
    """A pass that counts the tokens it computes."""

    def __init__(self, compute: Any) -> None:
        self._compute = compute
        self.shape, self.size_bytes = compute.shape, compute.size_bytes
        self.tokens = 0

    def __call__(self, forward: Any) -> Any:
        self.tokens += len(forward.ids)
        return self._compute(forward)


@pytest.fixture
def watched() -> Watched:
    return Watched(LlamaPass(model(long("llama"))))


@pytest.fixture
def decoder(watched: Watched) -> Any:
    made = BatchDecoder(watched)
    made.attach(lambda _: True, KEEP_BYTES, torch.inference_mode)
    return made


def once(decoder: Any, ids: list[int], tokens: int = 4, **options: Any) -> TokenSequence:
    one = text(ids, tokens, **options)
    write(decoder, [one])
    return one


def test_a_known_beginning_is_counted_and_not_computed(decoder: Any, watched: Watched) -> None:
    first = once(decoder, prompt(200))
    assert (first.cached, watched.tokens) == (0, 200 + 3)
    watched.tokens = 0
    second = once(decoder, prompt(200))
    assert (second.cached, watched.tokens) == (192, 8 + 3)
    assert second.output == first.output


def test_the_next_turn_knows_the_answer_as_well(decoder: Any) -> None:
    first = once(decoder, prompt(100), 60)
    ids = [*first.prompt, *first.output, *prompt(40, 2)]
    second = once(decoder, ids)
    assert second.cached == 128, "159 tokens were computed"
    assert second.output == generated(model(long("llama")), ids, 4)


@pytest.mark.parametrize("deterministic", [False, True])
def test_texts_of_both_modes_share_nothing(decoder: Any, deterministic: bool) -> None:
    once(decoder, prompt(200), deterministic=not deterministic)
    assert once(decoder, prompt(200), deterministic=deterministic).cached == 0
    assert once(decoder, prompt(200), deterministic=deterministic).cached == 192


def test_answers_of_deterministic_texts_are_no_prompts(decoder: Any) -> None:
    """They were computed in another shape than a prompt's chunk is."""
    first = once(decoder, prompt(100), 60, deterministic=True)
    ids = [*first.prompt, *first.output, 5]
    assert once(decoder, ids, deterministic=True).cached == 64


def test_deterministic_choices_of_one_prompt_share_it(decoder: Any) -> None:
    choices = [text(prompt(200), 3, deterministic=True, seed=seed) for seed in range(3)]
    write(decoder, choices)
    assert [one.cached for one in choices] == [0, 192, 192]


def test_no_more_is_kept_than_is_allowed() -> None:
    decoder = decoder_of(long("llama"))
    limit = decoder.bytes_for(256)
    decoder.attach(lambda _: True, limit, torch.inference_mode)
    for seed in range(6):
        once(decoder, prompt(200, seed))
        assert decoder.used_bytes <= limit
    assert once(decoder, prompt(200, 5)).cached == 192
    assert once(decoder, prompt(200, 0)).cached == 0


def test_what_is_kept_makes_room_for_what_is_written() -> None:
    decoder = decoder_of(long("llama"))
    room = decoder.bytes_for(512)
    decoder.attach(lambda size: size <= room, KEEP_BYTES, torch.inference_mode)
    for seed in range(5):
        once(decoder, prompt(250, seed), 3)
    assert 0 < decoder.used_bytes <= room
    decoder.drop_kept()
    assert decoder.used_bytes == 0
