"""`Packed`: the tokens of several texts one after the other, without padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.language.encoding.texts import EncodedText


@dataclass(frozen=True, slots=True)
class Packed:
    """
    Attributes:
        ids: int64 [tokens].
        segments: int64 [tokens].
        positions: int64 [tokens], from 0 in each text.
        lengths: tokens of each text.
        prompts: tokens at the beginning of each text that do not count in its vector.
    """

    ids: Any
    segments: Any
    positions: Any
    lengths: list[int]
    prompts: list[int]

    @classmethod
    def of(cls, texts: Sequence[EncodedText], device: Any) -> Packed:
        import torch

        lengths = [len(text) for text in texts]
        ids = torch.frombuffer(bytearray(b"".join(text.ids for text in texts)), dtype=torch.int32)
        segments = b"".join(text.segments or bytes(len(text)) for text in texts)
        marks = torch.frombuffer(bytearray(segments), dtype=torch.uint8)
        positions = torch.cat([torch.arange(length) for length in lengths])
        return cls(
            ids.long().to(device),
            marks.long().to(device),
            positions.to(device),
            lengths,
            [text.prompt_tokens for text in texts],
        )

    def equal_lengths(self) -> Iterator[tuple[int, int, int]]:
        """Neighbours of equal length: (place of the first token, texts, tokens of each)."""
        place = first = 0
        for index, length in enumerate(self.lengths):
            if index + 1 < len(self.lengths) and self.lengths[index + 1] == length:
                continue
            count = index + 1 - first
            yield place, count, length
            place, first = place + count * length, index + 1

    def starts(self) -> list[int]:
        """Place of each text's first token."""
        places = [0]
        for length in self.lengths[:-1]:
            places.append(places[-1] + length)
        return places
