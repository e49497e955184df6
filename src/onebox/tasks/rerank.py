"""Task `rerank`: documents in the order in which they answer a query.

curl -s localhost:8000/v1/tasks/rerank -H "Authorization: Bearer $KEY" \\
     -H 'Content-Type: application/json' \\
     -d '{"model": "ms-marco-MiniLM-L6-v2", "query": "How tall is the Eiffel Tower?",
          "documents": ["It is 330 metres high.", "Paris is in France."]}'
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from onebox.core.piecework import Piecework
from onebox.core.plugins import TASKS
from onebox.core.results import Output
from onebox.language.encoding.piecework import EncoderTask, TextPieces, usage
from onebox.language.messages import Text

MAX_DOCUMENTS = 1000

NonEmpty = Annotated[Text, Field(min_length=1)]


class RerankInput(BaseModel):
    query: NonEmpty
    documents: list[NonEmpty] = Field(min_length=1, max_length=MAX_DOCUMENTS)
    top_n: int | None = Field(None, ge=1, description="Only so many of the best.")
    max_document_tokens: int | None = Field(
        None, ge=1, description="Cut each document to so many tokens."
    )
    truncate: bool = Field(
        default=False, description="Cut query and document where they are too long together."
    )


class Rerank(EncoderTask[RerankInput]):
    name = "rerank"
    summary = "Sort documents by how well they answer a query"
    Input = RerankInput

    def items(self, request: RerankInput) -> int:
        return len(request.documents)

    def prepare(self, request: RerankInput, entry: Any, read: Any) -> Piecework:
        texts = self._encodings(entry).pairs(
            request.query,
            request.documents,
            most=request.max_document_tokens,
            truncate=request.truncate,
        )

        def finish(rows: list[Any]) -> list[Output]:
            value = {"results": ranked(rows, request.top_n), "usage": usage(texts)}
            return [Output("json", value)]

        return TextPieces(texts, finish)


def ranked(rows: list[Any], top_n: int | None) -> list[dict[str, Any]]:
    """The best first; of equal ones that which came first."""
    scores = [float(row[0]) for row in rows]
    order = sorted(range(len(scores)), key=lambda index: -scores[index])
    return [{"index": index, "relevance_score": scores[index]} for index in order[:top_n]]


TASKS.register(Rerank.name, Rerank())
