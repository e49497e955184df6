"""Which bytes a token stands for, in the four ways in which tokenizers write that down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["bytes", "pieces", "words", "plain"]

SPACE = "▁"
BYTE_TOKEN_CHARS = 6  # <0x0A>


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a token's name in the vocabulary becomes bytes.

    Attributes:
        kind: "bytes": each character is a byte, in GPT-2's alphabet; "pieces": as sentencepiece,
            with a mark for the space; "words": the space is left out, and what continues a word or
            ends it is marked; "plain": the name is the text.
        byte_tokens: <0x0A> is a byte ("pieces" alone).
        prefix: marks what continues a word.
        suffix: marks the end of a word.
        joiner: marks, at the end of a token, that the word goes on.
    """

    kind: Kind
    byte_tokens: bool = False
    prefix: str = ""
    suffix: str = ""
    joiner: str = ""

    def to_bytes(self, token: str) -> bytes:
        if self.kind == "bytes":
            alphabet = _alphabet()
            if all(char in alphabet for char in token):
                return bytes(alphabet[char] for char in token)
            return token.encode("utf-8", "replace")
        if self.kind == "pieces":
            byte = _byte_of(token) if self.byte_tokens else None
            text = token.replace(SPACE, " ")
            return text.encode("utf-8", "replace") if byte is None else bytes([byte])
        return self._word(token).encode("utf-8", "replace")

    def from_text(self, text: str) -> str:
        """The name that a token of this text would have in the vocabulary."""
        if self.kind == "bytes":
            letters = {byte: char for char, byte in _alphabet().items()}
            return "".join(letters[byte] for byte in text.encode("utf-8", "replace"))
        return text.replace(" ", SPACE) if self.kind == "pieces" else text

    def _word(self, token: str) -> str:
        if self.kind == "plain":
            return token
        if self.joiner:
            goes_on = token.endswith(self.joiner)
            return token.removesuffix(self.joiner) if goes_on else token + " "
        if self.suffix:
            ends = token.endswith(self.suffix)
            return token.removesuffix(self.suffix) + " " if ends else token
        begins = not token.startswith(self.prefix)
        return " " + token if begins else token.removeprefix(self.prefix)


def scheme_of(backend: Any) -> Scheme:
    """Of a `tokenizers.Tokenizer`, from its decoder, or its pre-tokenizer where it has none."""
    parts = list(_parts(backend.decoder)) or list(_parts(backend.pre_tokenizer))
    kinds = {part["type"]: part for part in parts}
    if "ByteLevel" in kinds:
        return Scheme("bytes")
    if "Metaspace" in kinds or any(_replaces_space(part) for part in parts):
        return Scheme("pieces", byte_tokens="ByteFallback" in kinds)
    if "WordPiece" in kinds:
        return Scheme("words", prefix=kinds["WordPiece"]["prefix"])
    if "BPEDecoder" in kinds:
        return Scheme("words", suffix=kinds["BPEDecoder"]["suffix"])
    return Scheme("plain")


def scheme_of_slow(tokenizer: Any) -> Scheme:
    """Of a tokenizer of `transformers` that is written in Python."""
    if hasattr(tokenizer, "byte_decoder"):
        return Scheme("bytes")
    if hasattr(tokenizer, "sp_model"):
        return Scheme("pieces", byte_tokens=True)
    names = tokenizer.get_vocab()
    if any(name.endswith("</w>") for name in names):
        return Scheme("words", suffix="</w>")
    if any(name.endswith("@@") for name in names):
        return Scheme("words", joiner="@@")
    return Scheme("plain")


def _parts(component: Any) -> Iterator[dict[str, Any]]:
    """A decoder or pre-tokenizer, or those of a sequence, as their JSON."""
    if component is None:
        return
    pending: list[dict[str, Any]] = [json.loads(component.__getstate__())]
    while pending:
        part = pending.pop()
        yield part
        pending += part.get("decoders", []) + part.get("pretokenizers", [])


def _replaces_space(part: dict[str, Any]) -> bool:
    return part["type"] == "Replace" and part.get("pattern") == {"String": SPACE}


def _byte_of(token: str) -> int | None:
    if len(token) != BYTE_TOKEN_CHARS or not token.startswith("<0x") or not token.endswith(">"):
        return None
    try:
        return int(token[3:5], 16)
    except ValueError:
        return None


_ALPHABET: dict[str, int] = {}


def _alphabet() -> dict[str, int]:
    """GPT-2's: printable bytes are their own letters, the others follow from U+0100 on."""
    if not _ALPHABET:
        printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
        others = [byte for byte in range(0x100) if byte not in printable]
        letters = {chr(byte): byte for byte in printable}
        letters.update((chr(0x100 + place), byte) for place, byte in enumerate(others))
        _ALPHABET.update(letters)
    return _ALPHABET
