"""A byte-level BPE tokenizer made on the spot: every byte, the letters of JSON, some words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

PIECES = ('{"', '":', '", "', '"}', "}}", "]}", ": ", ", ", "true", "null", "name", "the", " city")
END, MARK = "<|im_end|>", "<|im_start|>"


class TinyTokenizer:
    """What `Grammars` needs of a TextTokenizer. 32 does not divide its vocabulary.

    `special` are further special tokens; `end_is_text` makes the end of a turn a plain added token,
    as some checkpoints do.
    """

    def __init__(self, special: Sequence[str] = (), *, end_is_text: bool = False) -> None:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        vocab = {letter: index for index, letter in enumerate(alphabet)}
        merges: list[tuple[str, str]] = []
        for piece in PIECES:
            letters = piece.replace(" ", "\u0120")
            for end in range(2, len(letters) + 1):
                if letters[:end] not in vocab:
                    vocab[letters[:end]] = len(vocab)
                    merges.append((letters[: end - 1], letters[end - 1]))
        self.backend: Any = Tokenizer(models.BPE(vocab=vocab, merges=merges))
        self.backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.backend.decoder = decoders.ByteLevel()
        self.backend.add_special_tokens([MARK, *special])
        self.backend.add_tokens([AddedToken(END, special=not end_is_text, normalized=False)])
        self.eos_ids = frozenset({self.backend.token_to_id(END)})
        self.vocab_size: int = self.backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return list(self.backend.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        return str(self.backend.decode(list(ids), skip_special_tokens=False))
