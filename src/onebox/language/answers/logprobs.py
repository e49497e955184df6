"""`TokenLog`: log-probabilities of one answer's tokens, told together with their text."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from onebox.core.decoding import Token
from onebox.language.answers.detokenizer import Decoder

# JSON knows no infinity: what cannot be told apart from impossible is given as this.
LEAST = -9999.0


class Spelling(Protocol):
    """Says which bytes a token adds to the text; a `Detokenizer` does."""

    def bytes_of(self, token_id: int, /) -> bytes: ...


class TokenLog:
    """Keeps each token until all of its text has been sent.

    Args:
        offsets: tell where in the text each token begins, in characters.
    """

    def __init__(self, tokenizer: Decoder, spelling: Spelling, *, offsets: bool = False) -> None:
        self._tokenizer = tokenizer
        self._spelling = spelling
        self._offsets = offsets
        self._waiting: deque[tuple[int, int, dict[str, Any]]] = deque()

    def add(self, token: Token, start: int, end: int) -> None:
        """A token with its place in the text, in characters."""
        assert token.logprob is not None
        entry = self._entry(token.id, token.logprob)
        entry["top"] = [self._entry(token_id, logprob) for token_id, logprob in token.top]
        if self._offsets:
            entry["offset"] = start
        self._waiting.append((start, end, entry))

    def skip(self, position: int) -> None:
        """The text before the position is never sent, nor are the tokens that begin in it."""
        while self._waiting and self._waiting[0][0] < position:
            self._waiting.popleft()

    def release(self, position: int) -> list[dict[str, Any]]:
        """The tokens that end at the position or before: so far the text has been sent."""
        released = []
        while self._waiting and self._waiting[0][1] <= position:
            released.append(self._waiting.popleft()[2])
        return released

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        spelt = self._spelling.bytes_of(token_id)
        if spelt:
            text = spelt.decode(errors="replace")
        else:
            text = self._tokenizer.decode([token_id], skip_special=False)
            spelt = text.encode()
        return {
            "token": text,
            "bytes": list(spelt),
            "logprob": max(logprob, LEAST),
        }
