"""`/v1/rerank` with a tiny random cross-encoder."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.families import tiny_encoders as tiny

RERANK = "/v1/rerank"
QUERY = "the big dog"
DOCUMENTS = ["the cat sat on the mat", "a dog", "very very big : the dog ran home", "a dog"]


def rerank(
    client: httpx.Client, documents: Any = DOCUMENTS, path: str = RERANK, **fields: Any
) -> dict[str, Any]:
    body = {"model": "cross", "query": QUERY, "documents": documents, **fields}
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def refused(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    body = {"model": "cross", "query": QUERY, "documents": DOCUMENTS, **fields}
    answer = client.post(RERANK, json=body)
    assert answer.status_code == 422, answer.text
    return dict(answer.json()["error"])


def scores(answer: dict[str, Any]) -> list[float]:
    """In the order of the request."""
    found = sorted(answer["results"], key=lambda item: item["index"])
    assert [item["index"] for item in found] == list(range(len(found)))
    return [item["relevance_score"] for item in found]


def test_documents_come_by_their_scores_equal_ones_in_their_order(
    encoding: httpx.Client, encoders: Path
) -> None:
    answer = rerank(encoding)
    logits = tiny.scores(encoders / "cross", QUERY, DOCUMENTS)
    expected = [1 / (1 + math.exp(-logit)) for logit in logits]
    assert scores(answer) == pytest.approx(expected, abs=1e-5)
    told = [item["relevance_score"] for item in answer["results"]]
    assert told == sorted(told, reverse=True)
    order = [item["index"] for item in answer["results"]]
    assert order.index(3) == order.index(1) + 1
    assert answer["usage"]["total_tokens"] == answer["meta"]["tokens"]["input_tokens"] > 0


@pytest.mark.parametrize("path", [RERANK, "/v2/rerank"])
def test_the_best_ones_with_their_texts(encoding: httpx.Client, path: str) -> None:
    every = rerank(encoding, path=path)["results"]
    objects = [{"text": document, "title": "no text"} for document in DOCUMENTS]
    best = rerank(encoding, objects, path=path, top_n=2, return_documents=True)["results"]
    assert [item["index"] for item in best] == [item["index"] for item in every[:2]]
    assert [item["document"]["text"] for item in best] == [DOCUMENTS[i["index"]] for i in best]
    assert "document" not in every[0]
    assert len(rerank(encoding, path=path, top_n=99)["results"]) == len(DOCUMENTS)


def test_a_thousand_documents_among_other_requests(encoding: httpx.Client) -> None:
    documents = [" ".join((tiny.WORDS * 2)[n % 13 : n % 13 + 1 + n % 9]) for n in range(1000)]
    alone = [scores(rerank(encoding, documents[n::97])) for n in range(16)]
    with ThreadPoolExecutor(17) as pool:
        large = pool.submit(rerank, encoding, documents)
        small = [pool.submit(rerank, encoding, documents[n::97]) for n in range(16)]
        together = [scores(one.result()) for one in small]
        found = np.array(scores(large.result()))
    for n, (one, other) in enumerate(zip(alone, together, strict=True)):
        assert one == pytest.approx(other, abs=1e-6)
        assert one == pytest.approx(found[n::97], abs=1e-6)


def test_long_documents_are_named_or_cut(encoding: httpx.Client) -> None:
    documents = ["a dog", "the cat " * 50]
    error = refused(encoding, documents=documents)
    assert error["code"] == "context_length_exceeded"
    assert error["details"] == {"index": 1, "tokens": 106, "max_tokens": tiny.POSITIONS}
    assert "documents[1]" in error["message"]
    assert "truncate" in error["message"]
    cut = scores(rerank(encoding, documents, truncate=True))
    assert cut == pytest.approx(scores(rerank(encoding, ["a dog", "the cat " * 17])), abs=1e-6)
    short = scores(rerank(encoding, documents, max_tokens_per_doc=4))
    assert short == pytest.approx(scores(rerank(encoding, ["a dog", "the cat " * 2])), abs=1e-6)
    query = {"query": "the dog " * 100}
    assert refused(encoding, **query)["details"]["tokens"] == 200 + 3 + 6
    assert len(scores(rerank(encoding, documents, **query, truncate=True))) == 2


@pytest.mark.parametrize("document", ["🎨", "漢字", "a\x00b", " ", "\n", "x" * 50_000])
def test_any_text_has_a_score(encoding: httpx.Client, document: str) -> None:
    found = scores(rerank(encoding, ["a dog", document]))
    assert all(0 <= score <= 1 for score in found)
    assert found[1] == pytest.approx(scores(rerank(encoding, [document]))[0], abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["x"] * 1001}, "documents"),
        ({"documents": ["x"] * 999 + [""]}, "documents.999"),
        ({"documents": ["x", None]}, "documents.1"),
        ({"documents": ["x", {"text": {"text": "y"}}]}, "documents.1"),
        ({"query": ""}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 0}, "max_tokens_per_doc"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_what_cannot_be_ranked_is_named(
    encoding: httpx.Client, fields: dict[str, Any], param: str
) -> None:
    assert refused(encoding, **fields)["param"] == param


def test_a_model_that_ranks_gives_no_vectors(encoding: httpx.Client) -> None:
    answer = encoding.post("/v1/embeddings", json={"model": "cross", "input": "a dog"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "task_not_supported")
    assert "it can do: rerank" in answer.json()["error"]["message"]
