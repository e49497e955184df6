"""Conversations of an exact number of tokens, each with other words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from benchmarks.chat_client import Messages

WORDS = """
time year people way day man thing woman life child world school state family student group country
problem hand part place case week company system program question work government number night point
home water room mother area money story fact month lot right study book eye job word business issue
"""


class Prompts:
    """Makes prompts with the model's own template. The same seed gives the same prompts."""

    def __init__(self, model: Path, seed: int = 1) -> None:
        from transformers import AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(model, local_files_only=True)
        self._chance = random.Random(seed)
        self._words = WORDS.split()

    def ids(self, messages: Messages) -> list[int]:
        """What a server makes of them."""
        given = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True)
        return list(given["input_ids"])

    def of(self, tokens: int) -> Messages:
        """One message of a user that comes to so many tokens with the template around it."""
        words = [self._word()]
        missing = tokens - len(self.ids(_said(words)))
        while missing > 0:
            words += [self._word() for _ in range(missing)]
            missing = tokens - len(self.ids(_said(words)))
        while missing < 0:
            words.pop()
            missing = tokens - len(self.ids(_said(words)))
        if missing:
            raise ValueError(f"no prompt of {tokens} tokens found")
        return _said(words)

    def many(self, count: int, tokens: int) -> list[Messages]:
        return [self.of(tokens) for _ in range(count)]

    def _word(self) -> str:
        return self._chance.choice(self._words)


def _said(words: list[str]) -> Messages:
    return [{"role": "user", "content": "Continue: " + " ".join(words)}]
