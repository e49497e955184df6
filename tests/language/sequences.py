"""Sequences and grammars as the sampler is given them."""

from __future__ import annotations

from typing import Any

from onebox.core.decoding import TokenSequence
from onebox.language.sampling import Sampling

OPEN = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "repetition_penalty": 1.0,
    "logit_bias": {},
    "seed": 0,
    "top_logprobs": None,
}


class Only:
    """A grammar that always allows the same tokens."""

    finished = False

    def __init__(self, *allowed: int) -> None:
        self.allowed = allowed
        self.accepted: list[int] = []

    def fill(self, bitmask: Any, row: int) -> bool:
        bitmask[row] = 0
        for token_id in self.allowed:
            bit = 1 << token_id % 32
            bitmask[row, token_id // 32] |= bit - 2**32 if bit == 2**31 else bit
        return True

    def accept(self, token_id: int) -> None:
        self.accepted.append(token_id)


class Anything(Only):
    def fill(self, bitmask: Any, row: int) -> bool:
        return False


def sequence(
    prompt: list[int] | None = None,
    output: list[int] | None = None,
    matcher: Any = None,
    **sampling: Any,
) -> TokenSequence:
    values = Sampling(**{**OPEN, **sampling})
    return TokenSequence(
        prompt=prompt or [0],
        max_tokens=9,
        sampling=values,
        matcher=matcher,
        output=list(output or []),
    )
