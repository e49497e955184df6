"""Answers that a grammar allows, written by a dice instead of a model."""

from __future__ import annotations

import random

import torch

from onebox.language.grammars.grammar import Grammar, Matcher
from tests.support.tiny_tokenizer import TinyTokenizer

MAX_STEPS = 6000
CLOSERS = ('"', '"}', "}", "]}", "]", ",", "\n")


def allowed(matcher: Matcher, vocab: int) -> list[int]:
    """The ids that may come next, of a model with so many logits."""
    mask = torch.full((2, (vocab + 31) // 32), 0x5A5A5A5A, dtype=torch.int32)
    matcher.fill(mask, 1)
    assert (mask[0] == 0x5A5A5A5A).all(), "another row was written"
    bits = (mask[1][:, None] >> torch.arange(32)) & 1
    return [int(index) for index in bits.flatten().nonzero().flatten()]


def random_walk(
    grammar: Grammar, tokenizer: TinyTokenizer, dice: random.Random, *, closing: float = 0.3
) -> str:
    """One finished answer. `closing` is how often a token that closes something is preferred."""
    closers = {tokenizer.backend.token_to_id(text.replace("\n", "\u010a")) for text in CLOSERS}
    closers |= tokenizer.eos_ids
    matcher, ids = grammar.start(), list[int]()
    for _ in range(MAX_STEPS):
        choices = allowed(matcher, tokenizer.vocab_size)
        assert choices, f"nothing may follow {tokenizer.decode(ids)!r}"
        preferred = [choice for choice in choices if choice in closers]
        chosen = dice.choice(preferred if preferred and dice.random() < closing else choices)
        matcher.accept(chosen)
        if chosen in tokenizer.eos_ids:
            return tokenizer.decode(ids)
        ids.append(chosen)
    raise AssertionError(f"no end came of {tokenizer.decode(ids)[-200:]!r}")


def follow(grammar: Grammar, tokenizer: TinyTokenizer, text: str) -> Matcher | None:
    """The matcher after a text; None if the grammar does not allow it."""
    matcher = grammar.start()
    for token in tokenizer.encode(text):
        if token not in allowed(matcher, tokenizer.vocab_size):
            return None
        matcher.accept(token)
    return matcher
