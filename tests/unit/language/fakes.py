"""A tokenizer, a context and a matcher that are small enough to see through."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

WORDS = ("Hello", " world", " the", "the", " ", "\n", "stop", "END", "日", " 日本", "é", " caf")
SPECIAL = ("<s>", "<|end|>", "<|call|>")
FIRST_WORD = 256
FIRST_SPECIAL = FIRST_WORD + len(WORDS)
BOS, EOS, CALL = range(FIRST_SPECIAL, FIRST_SPECIAL + len(SPECIAL))


class FakeTokenizer:
    """All single bytes, some words, some special tokens: as byte-level BPE.

    With `pieces` it decodes as sentencepiece does: one space at the front is dropped, and a run of
    single bytes that is no UTF-8 becomes one U+FFFD a byte.
    """

    eos_ids = frozenset({EOS})
    bos_id = BOS
    vocab_size = FIRST_SPECIAL + len(SPECIAL)
    control_pattern = None
    special_tokens: Mapping[str, str] = {}
    # Knows tools, and thoughts, by these words alone.
    chat_template = "tools <tool_call> </think>"

    def __init__(self, *, pieces: bool = False) -> None:
        self._pieces = pieces
        self._bytes = [bytes([value]) for value in range(256)]
        self._bytes += [word.encode() for word in WORDS]
        self._bytes += [b""] * len(SPECIAL)
        self._ids = {name: FIRST_WORD + place for place, name in enumerate(WORDS + SPECIAL)}

        self.grammars = FakeGrammars()

    def template_for(self, *, tools: bool) -> str:
        return self.chat_template

    def encode_marked(self, text: str, places: Any) -> list[int]:
        return self.encode(text, special=False)

    def token_id(self, name: str) -> int | None:
        return self._ids.get(name)

    def is_special(self, token_id: int) -> bool:
        return token_id >= FIRST_SPECIAL

    def token_bytes(self, token_id: int) -> bytes:
        return self._bytes[token_id]

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Words where there are some, else bytes."""
        pattern = "|".join(map(re.escape, sorted(WORDS + SPECIAL, key=len, reverse=True)))
        ids = [BOS] if special else []
        for piece in re.split(f"({pattern})", text):
            known = self.token_id(piece)
            ids += list(piece.encode()) if known is None else [known]
        return ids

    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str:
        if not self._pieces:
            return b"".join(self._spelt(i, skip_special) for i in ids).decode(errors="replace")
        text, run = "", b""
        for token_id in ids:
            if token_id < FIRST_WORD:
                run += self._bytes[token_id]
            elif self._spelt(token_id, skip_special):
                text += _run_text(run) + self._spelt(token_id, skip_special).decode()
                run = b""
        return (text + _run_text(run)).removeprefix(" ")

    def _spelt(self, token_id: int, skip_special: bool) -> bytes:
        if self.is_special(token_id) and not skip_special:
            return SPECIAL[token_id - FIRST_SPECIAL].encode()
        return self._bytes[token_id]


def _run_text(run: bytes) -> str:
    try:
        return run.decode()
    except UnicodeDecodeError:
        return "\ufffd" * len(run)


class FakeGrammars:
    """Gives back what was asked for."""

    def json_object(self) -> Any:
        return "object"

    def json_schema(self, schema: dict[str, Any]) -> Any:
        return "schema", schema

    def tool_calls(self, tools: Any, form: str, required: bool, parallel: bool) -> Any:
        return "tools", [tool.name for tool in tools], form, required, parallel


class FakeRenderer:
    """One line a message, one for the tools, and what an answer begins with."""

    def __init__(self, ending: str = "") -> None:
        self._ending = ending

    def render(self, template: str, variables: dict[str, Any]) -> str:
        tools = variables["tools"] or []
        lines = ["tools:" + ",".join(tool["function"]["name"] for tool in tools)] if tools else []
        lines += [f"{one['role']}:{one['content']}" for one in variables["messages"]]
        return "\n".join([*lines, self._ending])


class FakeContext:
    """Keeps the deltas."""

    def __init__(self, entry: Any = None) -> None:
        self.entry = entry
        self.deltas: list[dict[str, Any]] = []

    def delta(self, data: dict[str, Any]) -> None:
        self.deltas.append(data)


class CountingMatcher:
    """A grammar that has come to its end after so many tokens, which a sampler tells it of."""

    def __init__(self, tokens: int) -> None:
        self.left = tokens

    def accept(self, token_id: int) -> None:
        self.left -= 1

    @property
    def finished(self) -> bool:
        return self.left <= 0
