"""Vectors of all-MiniLM-L6-v2, through OpenAI's own client as it is."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from onebox.starter.catalogue import MINILM
from tests.support.asking import nobody_waits, wait_for_state
from tests.support.server import ROOT, Server, running_server, wait_for
from tests.support.starter import minilm_folder
from tests.support.talking import ONE_THREAD

MODEL = MINILM.folder
STORED = ROOT / "tests" / "data" / "minilm_vectors.json"
WORDS = ("the", "of", "and", "house", "tree", "water", "letter", "number", "mountain", "river")
SIZE = 384


def texts_of(count: int, most: int, seed: int = 1) -> list[str]:
    """Of one word to `most`; the same for a seed."""
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randint(1, most))) for _ in range(count)]


def off(found: Any, expected: Any) -> float:
    return float(np.abs(np.asarray(found) - np.asarray(expected)).max())


def vectors(sdk: openai.OpenAI, given: Any, model: str = MODEL, **fields: Any) -> Any:
    """float32 [texts, dimensions]."""
    data = sdk.embeddings.create(model=model, input=given, **fields).data
    assert [one.index for one in data] == list(range(len(data)))
    return np.array([one.embedding for one in data], np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of the server for tests to put models into."""
    return tmp_path_factory.mktemp("encoders")


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("embeddings") / "data"
    folders = f"{minilm_folder()},{folder}"
    with running_server(data_dir, folder, **ONE_THREAD, MODEL_DIRS=folders) as running:
        yield running


def test_vectors_are_those_of_sentence_transformers(sdk: openai.OpenAI) -> None:
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    wanted = np.array([np.frombuffer(base64.b64decode(v), "<f4") for v in stored["vectors"]])
    cut: Any = {"extra_body": {"truncate": True}}
    coded = vectors(sdk, stored["texts"], **cut)
    assert off(coded, wanted) < 1e-5
    assert np.array_equal(vectors(sdk, stored["texts"], encoding_format="float", **cut), coded)
    short = vectors(sdk, stored["texts"], dimensions=64, **cut)
    first = wanted[:, :64] / np.linalg.norm(wanted[:, :64], axis=1, keepdims=True)
    assert off(short, first) < 1e-5


def test_async_clients_get_the_same_at_once(server: Server, sdk: openai.OpenAI) -> None:
    asked = [texts_of(1 + number % 3, 12, seed=number) for number in range(64)]
    alone = [vectors(sdk, texts) for texts in asked]

    async def together() -> list[Any]:
        async with server.async_sdk() as sdk:
            asking = [sdk.embeddings.create(model=MODEL, input=texts) for texts in asked]
            return await asyncio.gather(*asking)

    for answer, expected in zip(asyncio.run(together()), alone, strict=True):
        assert off([one.embedding for one in answer.data], expected) <= 1e-6


def test_many_texts_with_doubles_come_back_in_order(sdk: openai.OpenAI) -> None:
    texts = texts_of(500, 12)
    found = vectors(sdk, [*texts, *texts[::-1]])
    assert found.shape == (1000, SIZE)
    assert np.array_equal(found[:500], found[:499:-1])
    for place in (0, 123, 499):
        assert off(found[place], vectors(sdk, texts[place])[0]) <= 1e-6


def test_what_means_the_same_is_nearer(client: httpx.Client) -> None:
    body = {
        "model": MODEL,
        "source": "A man is eating food.",
        "sentences": ["Someone has a meal.", "A plane lands in the rain.", "A man eats food."],
    }
    first, second, third = client.post("/v1/similarity", json=body).json()["scores"]
    assert third > first > second + 0.2


def test_tokens_of_its_own_vocabulary_are_a_text(client: httpx.Client, sdk: openai.OpenAI) -> None:
    """[CLS] hello world [SEP]; nothing is put around tokens."""
    ids = [101, 7592, 2088, 102]
    assert off(vectors(sdk, [ids]), vectors(sdk, "Hello world")) <= 1e-6
    with pytest.raises(openai.BadRequestError, match=r"input\[1\]: there is no token 100257"):
        vectors(sdk, [ids, [100257]])


def test_one_that_is_too_long_is_refused_or_cut(sdk: openai.OpenAI) -> None:
    texts = ["short", "word " * 255]
    with pytest.raises(openai.BadRequestError) as caught:
        vectors(sdk, texts)
    assert caught.value.code == "context_length_exceeded"
    assert "input[1] has 257 tokens and this model takes 256" in caught.value.message
    cut = vectors(sdk, texts, extra_body={"truncate": True})
    assert off(cut[1], vectors(sdk, "word " * 254)[0]) <= 1e-6


@pytest.mark.parametrize(
    "text", ["🎨🖌️", "漢字かな交じり文", "שלום עולם", "a\x00b", " \n", "x" * 9999], ids=ascii
)
def test_any_text_has_a_vector_of_length_one(sdk: openai.OpenAI, text: str) -> None:
    found = vectors(sdk, [text, "a"], extra_body={"truncate": True})
    assert np.linalg.norm(found, axis=1) == pytest.approx(1, abs=1e-5)


def test_a_copy_in_half_precision_is_served_once_it_is_there(
    client: httpx.Client, sdk: openai.OpenAI, folder: Path
) -> None:
    copy = folder / "halved"
    shutil.copytree(minilm_folder() / MODEL, folder / ".halved")
    config = folder / ".halved" / "config.json"
    # Other contents, since folders of equal contents are one model.
    config.write_text(config.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    (folder / ".halved" / "onebox.toml").write_text('dtype = "bfloat16"\n')
    (folder / ".halved").rename(copy)
    wait_for(lambda: client.get("/v1/models/halved").json().get("status") == "ready")
    texts = texts_of(40, 60)
    whole, half = vectors(sdk, texts), vectors(sdk, texts, model="halved")
    assert (whole * half).sum(axis=1).min() >= 0.9999
    assert off(whole, half) > 1e-5


def test_health_is_told_while_a_thousand_texts_are_computed(
    server: Server, client: httpx.Client
) -> None:
    texts = texts_of(2048, 200)
    asked = {"model": MODEL, "inputs": texts}
    with nobody_waits(server, "embeddings", "long", **asked):
        wait_for_state(client, "long", "running")
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda _: client.get("/health").status_code, range(40)))
        assert set(answers) == {200}
        body = {"model": MODEL, "input": "a short one in between"}
        assert client.post("/v1/embeddings", json=body).status_code == 200
        assert wait_for_state(client, "long", "running")
    wait_for(lambda: 'status="cancelled",task="embeddings"' in client.get("/metrics").text)


def test_it_does_not_chat(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="it can do: embeddings, similarity"):
        sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hi"}])
