"""Tasks `embeddings`, `similarity` and `rerank`: what they refuse, and what they make of rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from onebox.core.contracts import Entry
from onebox.core.errors import ContextOverflow, InvalidInput
from onebox.language.encoding.texts import TextEncoding
from onebox.tasks.embeddings import Embeddings, EmbeddingsInput
from onebox.tasks.rerank import Rerank, RerankInput, ranked
from onebox.tasks.similarity import Similarity, SimilarityInput, cosines
from tests.unit.language.test_encoding import Tokenizer

FACTS = {
    "max_tokens": 10,
    "dimensions": 4,
    "vocab": 300,
    "prompts": {"query": "q:", "document": ""},
    "default_prompt": None,
    "include_prompt": True,
    "lower": False,
    "width": 4,
}
ROW = np.array([3.0, 4.0, 0.0, 1.0], np.float32)


def entry(**facts: Any) -> Entry:
    return Entry("k", "mini", "/mini", "", 1, "ready", facts={**FACTS, **facts})


def encoding_of(entry: Entry) -> TextEncoding:
    tokenizer: Any = Tokenizer()
    return TextEncoding(tokenizer, entry.facts["max_tokens"], lower=False)


TASK = Embeddings(encoding_of)


def work(row: Any = ROW, of: Entry | None = None, **values: Any) -> tuple[Any, list[int]]:
    """The output of a request whose texts all get one row, and the sizes of its pieces."""
    request, of = EmbeddingsInput(**values), of or entry()
    TASK.check(request, of)
    pieces = TASK.prepare(request, of, None)
    sizes = []
    while not pieces.done:
        for piece in pieces.ready(100):
            sizes.append(piece.size)
            pieces.accept(piece, row)
    return pieces.outputs()[0], sizes


def refusal(of: Entry | None = None, **values: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        work(of=of, **values)
    return caught.value


def test_texts_and_token_ids_keep_their_places():
    output, sizes = work(inputs=["abc", [7, 8], "a"])
    assert sizes == [5, 3, 2]
    assert output.kind == "vectors"
    assert output.value["vectors"].shape == (3, 4)
    assert output.value["usage"] == {"prompt_tokens": 10, "total_tokens": 10}


def test_a_bad_item_is_named_before_anything_runs():
    empty = refusal(inputs=["a", ""])
    assert (empty.param, empty.details) == ("input", {"index": 1})
    assert refusal(inputs=["a", []]).details == {"index": 1}
    unknown = refusal(inputs=["a", [5, 300]])
    assert (unknown.param, unknown.details["index"], unknown.details["token"]) == ("input", 1, 300)
    long = refusal(inputs=[[5], "a", "a" * 11])
    assert isinstance(long, ContextOverflow)
    assert long.details == {"index": 2, "tokens": 13, "max_tokens": 10}


def test_a_long_text_is_cut_when_asked_for():
    assert work(inputs=["a" * 50], truncate=True)[1] == [10]


def test_dimensions_cut_and_renormalise():
    output, _ = work(inputs=["a"], dimensions=2)
    assert output.value["vectors"].tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert output.value["vectors"].dtype == np.float32
    assert work(inputs=["a"])[0].value["vectors"].tolist() == [ROW.tolist()]


def test_more_dimensions_than_the_model_has_are_refused_with_both_numbers():
    error = refusal(inputs=["a"], dimensions=5)
    assert (error.param, error.details) == ("dimensions", {"dimensions": 5, "max": 4})


def test_a_vector_of_zeros_stays_one():
    output, _ = work(np.zeros(4, np.float32), inputs=["a"], dimensions=2)
    assert output.value["vectors"].tolist() == [[0.0, 0.0]]


def test_a_prompt_is_named_or_the_checkpoint_s_own():
    assert work(inputs=["a"], prompt="query")[1] == [5]
    assert work(inputs=["a"], prompt="document")[1] == [3]
    assert work(of=entry(default_prompt="query"), inputs=["a"])[1] == [5]
    assert refusal(inputs=["a"], prompt="x").details == {"prompts": ["document", "query"]}
    assert refusal(inputs=["a", [5]], prompt="query").details == {"index": 1}


def test_too_many_or_no_inputs_are_refused():
    for inputs in ([], ["a"] * 2049):
        with pytest.raises(ValidationError):
            EmbeddingsInput(inputs=inputs)


def test_ranks_are_best_first_and_equal_ones_in_order():
    rows = [np.array([value], np.float32) for value in (0.25, 0.5, 0.5, 1.0)]
    assert [item["index"] for item in ranked(rows, None)] == [3, 1, 2, 0]
    assert ranked(rows, 1) == [{"index": 3, "relevance_score": 1.0}]


def test_rerank_names_the_document_that_is_too_long():
    task = Rerank(encoding_of)
    request = RerankInput(query="abc", documents=["a", "a" * 20])
    with pytest.raises(ContextOverflow) as caught:
        task.prepare(request, entry(), None)
    assert (caught.value.param, caught.value.details["index"]) == ("documents", 1)


def test_documents_are_cut_to_so_many_tokens():
    def tokens(most: int | None, *documents: str) -> list[int]:
        request = RerankInput(query="a", documents=documents, max_document_tokens=most)
        work = Rerank(encoding_of).prepare(request, entry(), None)
        return sorted(piece.size for piece in work.ready(9))

    whole = tokens(None, "b", "bcdef")
    assert tokens(3, "b", "bcdef") == [whole[0], whole[1] - 2]
    assert tokens(3, "b", "bcd") == tokens(3, "b", "bcdef")
    assert tokens(5, "b", "bcdef") == whole


def test_cosines_lie_between_minus_one_and_one():
    found = cosines([ROW, ROW * 3, -ROW, np.zeros(4, np.float32)])
    assert found == [pytest.approx(1.0), pytest.approx(-1.0), 0.0]
    assert max(found) <= 1.0


def test_similarity_names_what_is_too_long():
    task = Similarity(encoding_of)
    for values, param in (
        ({"source": "a" * 20, "sentences": ["a"]}, "source"),
        ({"source": "a", "sentences": ["a", "a" * 20]}, "sentences"),
    ):
        with pytest.raises(ContextOverflow) as caught:
            task.prepare(SimilarityInput(**values), entry(), None)
        assert caught.value.param == param
        place = f"{param}[1]" if param == "sentences" else param
        assert caught.value.message.startswith(f"{place} has ")
