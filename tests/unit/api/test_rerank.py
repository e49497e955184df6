"""`/v1/rerank` and `/v1/similarity`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.api.texts import Texts, post

RERANK = "/v1/rerank"
SIMILARITY = "/v1/similarity"
USAGE = {"prompt_tokens": 9, "total_tokens": 9}
RANKED = [{"index": 1, "relevance_score": 0.75}, {"index": 0, "relevance_score": 0.5}]
ASKED = {"model": "m", "query": "Who?", "documents": ["You.", {"text": "I.", "title": "x"}]}
SCORES = [0.5, 1.0]


def ranked() -> Texts:
    return Texts({"results": RANKED, "usage": USAGE})


def compared() -> Texts:
    return Texts({"scores": SCORES, "usage": USAGE})


@pytest.mark.parametrize("path", [RERANK, "/v2/rerank"])
def test_documents_in_their_order(roomy, path):
    answer, texts = post(roomy, path, ASKED, ranked())
    assert json.loads(answer.body) == {
        "id": "rerank-abc123",
        "object": "list",
        "model": "smol",
        "results": RANKED,
        "usage": USAGE,
        "meta": {"tokens": {"input_tokens": 9}},
    }
    assert (texts.task, texts.model) == ("rerank", "m")
    given = texts.input
    assert (given.query, given.documents) == ("Who?", ["You.", "I."])
    assert (given.top_n, given.truncate) == (None, False)


def test_documents_with_their_texts(roomy):
    body = {**ASKED, "return_documents": True, "top_n": 5, "truncate": True, "priority": "job"}
    answer, texts = post(roomy, RERANK, body, ranked())
    assert [found["document"] for found in json.loads(answer.body)["results"]] == [
        {"text": "I."},
        {"text": "You."},
    ]
    assert (texts.input.top_n, texts.input.truncate) == (5, True)
    assert texts.options.priority == "job"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"query": None}, "query"),
        ({"query": ""}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "x"}, "documents"),
        ({"documents": ["x"] * 1001}, "documents"),
        ({"documents": ["x", ""]}, "documents.1"),
        ({"documents": ["x", {"title": "y"}]}, "documents.1"),
        ({"documents": ["x", {"text": 7}]}, "documents.1"),
        ({"documents": ["x", 7]}, "documents.1"),
        ({"top_n": 0}, "top_n"),
        ({"rank_fields": ["x"]}, "rank_fields"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_ranked(roomy, fields, param):
    answer, texts = post(roomy, RERANK, {**ASKED, **fields})
    assert (answer.status, answer.error["param"], texts.task) == (422, param, "")
    assert "Value error" not in answer.error["message"]


def test_what_cohere_s_clients_send_along(roomy):
    """LangChain's, for one, sends null for what it was not told."""
    nulls = dict.fromkeys(("top_n", "return_documents", "rank_fields", "max_chunks_per_doc"))
    _, texts = post(roomy, RERANK, {**ASKED, **nulls, "max_tokens_per_doc": None}, ranked())
    assert (texts.input.max_document_tokens, texts.input.truncate) == (None, False)
    _, texts = post(roomy, RERANK, {**ASKED, "max_tokens_per_doc": 4096}, ranked())
    assert (texts.input.max_document_tokens, texts.input.truncate) == (4096, True)


def similar(roomy, **fields: Any):
    answer, texts = post(roomy, SIMILARITY, {"model": "m", **fields}, compared())
    assert answer.status == 200, answer.body
    assert (texts.task, texts.model) == ("similarity", "m")
    assert (texts.input.source, texts.input.sentences) == ("a", ["b", "c"])
    return json.loads(answer.body)


def test_sentences_beside_one(roomy):
    found = similar(roomy, source="a", sentences=["b", "c"])
    assert found == {"model": "smol", "scores": SCORES, "usage": USAGE}


def test_the_form_of_text_embeddings_inference_has_its_own_answer(roomy):
    found = similar(roomy, inputs={"source_sentence": "a", "sentences": ["b", "c"]})
    assert found == SCORES


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "a", "sentences": ["b"], "prompt": "query", "truncate": True},
        {
            "inputs": {"source_sentence": "a", "sentences": ["b"]},
            "parameters": {"prompt_name": "query", "truncate": True},
        },
    ],
    ids=["own", "other"],
)
def test_how_sentences_are_read(roomy, fields):
    answer, texts = post(roomy, SIMILARITY, fields, compared())
    assert answer.status == 200
    assert (texts.input.prompt, texts.input.truncate) == ("query", True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"parameters": {}},
        {"source": "a", "sentences": ["b"], "parameters": {}},
        {"inputs": {"source_sentence": "a", "sentences": ["b"]}, "truncate": True},
        {"source": "a"},
        {"sentences": ["b"]},
        {"source": "a", "sentences": []},
        {"source": "", "sentences": ["b"]},
        {"source": "a", "sentences": [""]},
        {"source": "a", "sentences": "b"},
        {"source": "a", "sentences": ["b"] * 2048},
        {"inputs": {"source_sentence": "a"}},
        {"inputs": {"source_sentence": "a", "sentences": ["b"], "x": 1}},
        {"source": "a", "inputs": {"source_sentence": "a", "sentences": ["b"]}},
        {"source": "a", "sentences": ["b"], "inputs": {"source_sentence": "a", "sentences": ["b"]}},
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_cannot_be_compared(roomy, fields):
    answer, texts = post(roomy, SIMILARITY, fields)
    assert (answer.status, texts.task) == (422, "")
