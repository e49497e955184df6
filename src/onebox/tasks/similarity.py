"""Task `similarity`: how near sentences are to another one, from -1 to 1.

curl -s localhost:8000/v1/tasks/similarity -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' \\
     -d '{"model": "all-MiniLM-L6-v2", "source": "A cat sleeps.", "sentences": ["A cat naps."]}'
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from onebox.core.contracts import Entry
from onebox.core.piecework import Piecework
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.language.encoding.piecework import EncoderTask, TextPieces, usage
from onebox.language.messages import Text
from onebox.tasks.embeddings import MAX_INPUTS, prompt_of

NonEmpty = Annotated[Text, Field(min_length=1)]


class SimilarityInput(BaseModel):
    """All are read with the checkpoint's prompt for texts of one kind: its default one, or none."""

    source: NonEmpty
    sentences: list[NonEmpty] = Field(min_length=1, max_length=MAX_INPUTS - 1)
    prompt: str | None = Field(
        None, max_length=256, description="Name of another one of the checkpoint's prompts."
    )
    truncate: bool = Field(default=False, description="Cut a text that is too long.")


class Similarity(EncoderTask[SimilarityInput]):
    name = "similarity"
    summary = "Compare a text with others"
    Input = SimilarityInput

    def check(self, request: SimilarityInput, entry: Entry) -> None:
        prompt_of(request.prompt, entry)

    def items(self, request: SimilarityInput) -> int:
        return 1 + len(request.sentences)

    def prepare(self, request: SimilarityInput, entry: Entry, read: Any) -> Piecework:
        encoding = self._encodings(entry)
        how: dict[str, Any] = {
            "prompt": prompt_of(request.prompt, entry),
            "truncate": request.truncate,
            "skip_prompt": not entry.facts["include_prompt"],
        }
        texts = encoding.texts([request.source], param="source", places=[None], **how)
        texts += encoding.texts(request.sentences, param="sentences", **how)

        def finish(rows: list[Any]) -> list[Output]:
            return [Output("json", {"scores": cosines(rows), "usage": usage(texts)})]

        return TextPieces(texts, finish)


def cosines(rows: list[Any]) -> list[float]:
    """Of the first vector with each of the others."""
    import numpy as np

    vectors = np.stack(rows).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1)
    products = vectors[1:] @ vectors[0]
    found = products / np.maximum(lengths[1:] * lengths[0], np.finfo(np.float64).tiny)
    return [float(score) for score in np.clip(found, -1.0, 1.0)]


TASKS.register(Similarity.name, Similarity())
