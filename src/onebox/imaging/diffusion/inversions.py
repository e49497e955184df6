"""Textual inversions in a loaded pipeline: words of a prompt that stand for learned vectors.

Such a word becomes ids below zero, one a vector, which no tokenizer gives. The embedding of each
text encoder knows what they mean while the run lasts, so that neither the tokenizer nor the weights
change. They are below zero because CLIP takes the largest id for the end of the text.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.modules import dotted, replaced

ENCODERS = ("text_encoder", "text_encoder_2")
# The word in the prompt → its ids.
Placeholders = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Inversion:
    """The vectors [n, width] of one word, by the name of their text encoder."""

    name: str
    word: str
    vectors: Mapping[str, Any]

    @property
    def length(self) -> int:
        return len(next(iter(self.vectors.values())))


def placeholders_of(text_encoder: Any) -> Placeholders:
    """The words that stand for vectors in the present run."""
    return getattr(text_encoder.get_input_embeddings(), "placeholders", {})


def pieces(text: str, placeholders: Placeholders) -> list[str | tuple[int, ...]]:
    """A prompt cut at the words that stand for vectors: text, and the ids in their places."""
    if not placeholders:
        return [text]
    ids = {word.lower(): value for word, value in placeholders.items()}
    parts = _any_of(placeholders).split(text)
    return [ids[part.lower()] if i % 2 else part for i, part in enumerate(parts) if part]


def holds(text: str, word: str) -> bool:
    """Whether a prompt has the word, in whatever case."""
    return _any_of([word]).search(text) is not None


@contextlib.contextmanager
def inverted(pipeline: Any, inversions: Sequence[Inversion]) -> Iterator[None]:
    """The words of the inversions mean their vectors. Raises InvalidInput where one cannot."""
    with contextlib.ExitStack() as stack:
        for name in ENCODERS if inversions else ():
            encoder = getattr(pipeline, name, None)
            if encoder is not None:
                stack.enter_context(_taught(encoder, name, inversions))
        yield


@contextlib.contextmanager
def _taught(encoder: Any, name: str, inversions: Sequence[Inversion]) -> Iterator[None]:
    import torch

    embedding = encoder.get_input_embeddings()
    placeholders: dict[str, tuple[int, ...]] = {}
    rows: list[Any] = []
    count = 0
    for inversion in inversions:
        vectors = _vectors(inversion, name, embedding)
        placeholders[inversion.word] = tuple(-1 - count - i for i in range(len(vectors)))
        count += len(vectors)
        rows.append(vectors)
    taught = _embedding_class()(embedding, torch.cat(rows), placeholders)
    with replaced(encoder, dotted(encoder, embedding), taught):
        yield


def _vectors(inversion: Inversion, encoder: str, embedding: Any) -> Any:
    vectors, width = inversion.vectors.get(encoder), embedding.embedding_dim
    if vectors is None or vectors.shape[1] != width:
        has = f"has vectors of {vectors.shape[1]}" if vectors is not None else "has none"
        raise InvalidInput(
            f"{inversion.name} is for another model: for {encoder} it {has}, and the model's are "
            f"of {width}",
            param="textual_inversions",
            details={"model": inversion.name},
        )
    return vectors


def _any_of(words: Iterator[str] | Sequence[str] | Placeholders) -> re.Pattern[str]:
    """Matches the words where they stand for themselves, the longest first."""
    ordered = sorted(words, key=len, reverse=True)
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, ordered))})(?![\w-])", re.IGNORECASE)


@functools.cache
def _embedding_class() -> Any:
    import torch

    class EmbeddingWithVectors(torch.nn.Module):
        """An embedding that gives the rows of `vectors` for ids below zero: -1 is the first."""

        def __init__(self, embedding: Any, vectors: Any, placeholders: Placeholders) -> None:
            super().__init__()
            self.stands_for = embedding
            self.vectors = vectors
            self.placeholders = placeholders

        def forward(self, ids: Any) -> Any:
            found = self.stands_for(ids.clamp(min=0))
            learned = self.vectors.to(found.device, found.dtype)
            return torch.where((ids < 0)[..., None], learned[(-1 - ids).clamp(min=0)], found)

    return EmbeddingWithVectors
