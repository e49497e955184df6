"""Models of each kind on a card and on the CPU, in full precision: the same but for rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest

from tests.families.tiny_encoders import WORDS
from tests.gpu.test_pictures import drawn
from tests.support.listening import post, speech_file
from tests.support.pictures import apart
from tests.support.server import Server
from tests.support.talking import ask

TEXTS = [" ".join(WORDS[:length]) for length in (1, 3, 7, 12)]


@pytest.fixture
def both(server: Server, peer: Server) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    with server.client() as one, peer.client() as other:
        yield one, other


def test_a_picture(both: tuple[httpx.Client, httpx.Client]) -> None:
    for size in ({}, {"width": 128}):
        ours, theirs = (drawn(client, "plain", **size)[0] for client in both)
        assert apart(ours, theirs) <= 1.0


def test_a_text_and_how_likely_its_tokens_are(both: tuple[httpx.Client, httpx.Client]) -> None:
    ours, theirs = (
        ask(client, temperature=0, logprobs=True, top_logprobs=3, max_tokens=24)["choices"][0]
        for client in both
    )
    assert ours["message"]["content"] == theirs["message"]["content"]
    assert np.abs(_likelihoods(ours) - _likelihoods(theirs)).max() <= 1e-2


def _likelihoods(choice: dict[str, Any]) -> np.ndarray:
    return np.array([token["logprob"] for token in choice["logprobs"]["content"]])


def test_texts_written_together_and_alone(server: Server, client: httpx.Client) -> None:
    one = ask(client, temperature=0, n=1)["choices"][0]["message"]["content"]
    several = ask(client, temperature=0, n=4)["choices"]
    assert {choice["message"]["content"] for choice in several} == {one}


def test_vectors_of_texts(both: tuple[httpx.Client, httpx.Client]) -> None:
    ours, theirs = (_vectors(client) for client in both)
    assert np.abs(ours - theirs).max() <= 1e-3


def _vectors(client: httpx.Client) -> np.ndarray:
    answer = client.post("/v1/embeddings", json={"model": "bert", "input": TEXTS})
    assert answer.status_code == 200, answer.text
    return np.array([item["embedding"] for item in answer.json()["data"]])


def test_what_is_heard(both: tuple[httpx.Client, httpx.Client]) -> None:
    answers = [post(client, speech_file("flac"), temperature=0) for client in both]
    assert [answer.status_code for answer in answers] == [200, 200]
    ours, theirs = (answer.json()["text"] for answer in answers)
    assert ours == theirs
