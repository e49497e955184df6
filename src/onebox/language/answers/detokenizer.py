"""`Detokenizer`: the tokens of one answer become text as they come, never half a character."""

from __future__ import annotations

from codecs import utf_8_decode
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from onebox.language.prompts.text_tokenizer import TextTokenizer

REPLACEMENT = "\ufffd"


class Decoder(Protocol):
    """What is needed of a tokenizer (`language.tokenizer.TextTokenizer`)."""

    def token_bytes(self, token_id: int, /) -> bytes: ...

    def decode(self, ids: Sequence[int], /, *, skip_special: bool = True) -> str: ...


class Detokenizer:
    """The pieces of one answer, joined, are what the tokenizer's `decode` makes of all its tokens.

    Bytes that are no UTF-8 become U+FFFD as `decode` has it, with one exception: where a tokenizer
    writes single bytes and a run of them goes wrong, `decode` gives up the whole run, while the
    characters in front of the fault have long been sent here.

    Args:
        kept: special tokens that are text all the same (the marks around a tool call).
        strip: the answer begins a text of its own, so it loses the space that some tokenizers put
            before every word; False for the continuation of a text.
    """

    def __init__(
        self, tokenizer: Decoder, kept: Mapping[int, bytes] | None = None, *, strip: bool = True
    ) -> None:
        self._tokenizer = tokenizer
        self._kept = kept or {}
        self._strip = strip
        self._pending = b""
        self._run: list[int] = []

    @property
    def is_between_characters(self) -> bool:
        """Whether no character has begun that the next tokens must complete."""
        return not self._pending

    def bytes_of(self, token_id: int) -> bytes:
        """What the token adds; nothing for a special one."""
        return self._kept.get(token_id) or self._tokenizer.token_bytes(token_id)

    def add(self, token_id: int) -> str:
        """The characters that are complete with this token, often one word, sometimes none."""
        added = self.bytes_of(token_id)
        if not added:
            return ""
        if self._strip:
            self._strip = False
            added = added[self._spaces_before(token_id, added) :]
        data = self._pending + added
        try:
            text, used = utf_8_decode(data, "strict", False)
        except UnicodeDecodeError:
            text, used = self._mend(data)
        self._pending = data[used:]
        # The ids that the pending bytes come from.
        if not self._pending:
            self._run.clear()
        elif len(added) >= len(self._pending):
            self._run = [token_id]
        else:
            self._run.append(token_id)
        return text

    def finish(self) -> str:
        """What is left of a character that never became complete."""
        text = REPLACEMENT * self._faults()
        self._pending = b""
        self._run.clear()
        return text

    def _spaces_before(self, token_id: int, added: bytes) -> int:
        """How many spaces the tokenizer drops from the token when it is the first."""
        if not added.startswith(b" "):
            return 0
        alone = self._tokenizer.decode([token_id]).encode()
        dropped = len(added) - len(alone)
        return dropped if added == b" " * dropped + alone else 0

    def _mend(self, data: bytes) -> tuple[str, int]:
        """Decode bytes with faults in them; how many of them are used up."""
        count = self._faults()
        parts: list[str] = []
        used = 0
        while True:
            try:
                text, more = utf_8_decode(data[used:], "strict", False)
            except UnicodeDecodeError as error:
                parts.append(data[used : used + error.start].decode())
                # Only what began with an earlier token can be of several tokens.
                is_pending = not used and error.end == len(self._pending)
                parts.append(REPLACEMENT * (count if is_pending else 1))
                used += error.end
                continue
            return "".join([*parts, text]), used + more

    def _faults(self) -> int:
        """How many U+FFFD the tokenizer makes of the pending bytes: one a fault, or one a byte."""
        if len(self._pending) < 2:
            return len(self._pending)
        alone = self._tokenizer.decode(self._run)
        return len(alone) - len(alone.rstrip(REPLACEMENT))


def kept_tokens(tokenizer: TextTokenizer, marks: Iterable[str]) -> dict[int, bytes]:
    """Those of the marks that the tokenizer has as special tokens, which are no text otherwise."""
    found = {mark: tokenizer.token_id(mark) for mark in marks}
    return {
        token_id: mark.encode()
        for mark, token_id in found.items()
        if token_id is not None and tokenizer.is_special(token_id)
    }
