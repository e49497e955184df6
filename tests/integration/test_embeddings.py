"""`/v1/embeddings` and `/v1/similarity` with tiny random encoders."""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.families import tiny_encoders as tiny
from tests.families.random_encoders import DENSE_SIZE, POISON
from tests.support.asking import nobody_waits, running_requests, wait_for_state
from tests.support.server import Server, wait_for

PATH = "/v1/embeddings"
WORDS = [word for word in tiny.WORDS if word != POISON]
# Tokens of a text of the models with forty places, without the marks around it.
MOST_WORDS = tiny.POSITIONS - 2


def text(number: int, words: int | None = None) -> str:
    """Another one for each number, from one word up."""
    count = words or 1 + number % MOST_WORDS
    return " ".join(WORDS[(number // 12**place + place) % 12] for place in range(count))


def ask(client: httpx.Client, given: Any, model: str = "bert", **fields: Any) -> Any:
    """float32 [texts, dimensions]."""
    answer = client.post(PATH, json={"model": model, "input": given, **fields})
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"]
    assert [item["index"] for item in data] == list(range(len(data)))
    return np.array([item["embedding"] for item in data], np.float32)


def refused(client: httpx.Client, given: Any, model: str = "bert", **fields: Any) -> dict[str, Any]:
    answer = client.post(PATH, json={"model": model, "input": given, **fields})
    assert answer.status_code == 400, answer.text
    return dict(answer.json()["error"])


def off(found: Any, expected: Any) -> float:
    return float(np.abs(found - expected).max())


def test_two_thousand_texts_of_all_lengths_come_back_in_their_order(encoding: httpx.Client) -> None:
    texts = [text(number) for number in range(1024)]
    texts += texts[::-1]
    found = ask(encoding, texts)
    assert np.array_equal(found[:1024], found[:1023:-1])
    for place in (0, 1, 37, 500, 1023):
        assert off(found[place], ask(encoding, texts[place])[0]) <= 1e-6


def test_the_sdk_gets_the_same_numbers_in_every_form(encoder_server: Server) -> None:
    texts = ["the cat", "a dog ran"]
    with encoder_server.sdk() as sdk:
        coded = sdk.embeddings.create(model="bert", input=texts)
        plain = sdk.embeddings.create(model="bert", input=texts, encoding_format="float")
        short = sdk.embeddings.create(model="bert", input=texts, dimensions=5)
    assert [one.embedding for one in coded.data] == [
        pytest.approx(one.embedding, rel=1e-7) for one in plain.data
    ]
    assert coded.usage.prompt_tokens == coded.usage.total_tokens == 4 + 5
    cut = np.array([one.embedding[:5] for one in plain.data])
    expected = cut / np.linalg.norm(cut, axis=1, keepdims=True)
    assert off(np.array([one.embedding for one in short.data]), expected) < 1e-6

    async def ask_async() -> Any:
        async with encoder_server.async_sdk() as sdk:
            return await asyncio.gather(
                *(sdk.embeddings.create(model="bert", input=each) for each in texts)
            )

    for index, answer in enumerate(asyncio.run(ask_async())):
        assert off(np.array(answer.data[0].embedding), np.array(coded.data[index].embedding)) < 1e-6


def test_base64_is_of_the_same_numbers(encoding: httpx.Client) -> None:
    texts = [text(number) for number in range(100)]
    body = {"model": "bert", "input": texts, "encoding_format": "base64"}
    data = encoding.post(PATH, json=body).json()["data"]
    raw = [np.frombuffer(base64.b64decode(item["embedding"]), "<f4") for item in data]
    assert np.array_equal(np.array(raw), ask(encoding, texts))


def test_token_ids_are_those_of_the_model(encoding: httpx.Client) -> None:
    """As LangChain's client sends them, whose ids are mostly of another model's tokens."""
    ids = [1, *(4 + WORDS.index(word) for word in ("the", "cat")), 2]
    assert off(ask(encoding, [ids]), ask(encoding, "the cat")) == 0
    assert np.array_equal(ask(encoding, ids), ask(encoding, [ids]))
    error = refused(encoding, [ids, [100257, 5]])
    assert error["message"].startswith("input[1]: there is no token 100257: bert has 32")
    assert error["details"] == {"index": 1, "token": 100257, "vocabulary": 32}
    assert refused(encoding, [ids, [5] * 41])["details"]["index"] == 1


@pytest.mark.parametrize(
    "given",
    [
        "🎨",
        "漢字",
        "שלום עולם",
        "a\x00cat",
        " ",
        "\n\t",
        "\u202e\u2066",
        "a" * 100_000,
        "\ufffe",
        "é́",
    ],
    ids=ascii,
)
def test_any_text_has_a_vector(encoding: httpx.Client, given: str) -> None:
    (found,) = ask(encoding, given)
    assert np.isfinite(found).all()
    among = ask(encoding, ["the cat", given, "a dog"])
    assert off(among[1], found) <= 1e-6


@pytest.mark.parametrize("text", [r"\ud800", r"\udc00x", r"a\ud83d"])
def test_half_of_a_character_is_refused(encoding: httpx.Client, text: str) -> None:
    body = f'{{"model": "bert", "input": ["a", "{text}"]}}'
    answer = encoding.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_json")


def test_one_that_is_too_long_is_named_and_nothing_runs(encoding: httpx.Client) -> None:
    def ended() -> list[str]:
        lines = encoding.get("/metrics").text.splitlines()
        return [line for line in lines if line.startswith("onebox_inference_seconds_count")]

    texts = [text(1), text(2, MOST_WORDS), text(3, MOST_WORDS + 1)]
    before = ended()
    error = refused(encoding, texts)
    assert ended() == before
    assert error["code"] == "context_length_exceeded"
    assert error["details"] == {"index": 2, "tokens": 41, "max_tokens": 40}
    assert "input[2] has 41 tokens and this model takes 40" in error["message"]
    assert "truncate" in error["message"]
    found = ask(encoding, texts, truncate=True)
    assert off(found[2], ask(encoding, text(3, MOST_WORDS))[0]) <= 1e-6


@pytest.mark.parametrize("index", [0, 1000, 2047])
@pytest.mark.parametrize("item", ["", [], None, 7, {"a": 1}, [1, "x"], [[1]], [1.5], [-1], True])
def test_a_bad_item_is_named_however_deep_it_is(
    encoding: httpx.Client, index: int, item: Any
) -> None:
    given: list[Any] = ["a"] * 2048
    given[index] = item
    error = refused(encoding, given)
    # After a number at the beginning all would have to be numbers.
    bad = 1 if (index, item) == (0, 7) else index
    assert (error["param"], error["details"]["index"]) == ("input", bad)


def test_one_too_many_is_refused_with_both_numbers(encoding: httpx.Client) -> None:
    error = refused(encoding, ["a"] * 2049)
    assert (error["details"]["received"], error["details"]["max"]) == (2049, 2048)
    assert len(ask(encoding, ["a"] * 2048)) == 2048


def test_many_clients_at_once_get_what_each_gets_alone(encoding: httpx.Client) -> None:
    asked = [[text(number * 7 + item) for item in range(1 + number % 5)] for number in range(64)]
    alone = [ask(encoding, texts) for texts in asked]
    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(lambda texts: ask(encoding, texts), asked))
    assert max(map(off, together, alone)) <= 1e-6


def test_a_text_without_finite_numbers_fails_alone(encoding: httpx.Client) -> None:
    given = [[text(number)] for number in range(40)]
    given[17] = ["a cat", f"a {POISON}"]
    body = [{"model": "poisoned", "input": texts} for texts in given]
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda each: encoding.post(PATH, json=each), body))
    failed = answers.pop(17)
    assert (failed.status_code, failed.json()["error"]["code"]) == (500, "inference_failed")
    assert "no finite numbers" in failed.json()["error"]["message"]
    assert {answer.status_code for answer in answers} == {200}
    assert "NaN" not in "".join(answer.text for answer in answers)


def test_a_client_that_leaves_ends_its_request(
    encoder_server: Server, encoding: httpx.Client
) -> None:
    ask(encoding, "a", model="big")
    texts = [text(number, 500) for number in range(2048)]
    with nobody_waits(encoder_server, "embeddings", "leaver", model="big", inputs=texts):
        wait_for_state(encoding, "leaver", "running")
    wait_for(lambda: "leaver" not in running_requests(encoding))
    line = 'onebox_predictions_total{model="big",status="cancelled",task="embeddings"} 1.0'
    assert line in encoding.get("/metrics").text
    assert len(ask(encoding, ["a", "the cat"], model="big")) == 2


def test_half_precision_is_what_onebox_toml_says_and_near(encoding: httpx.Client) -> None:
    texts = [text(number) for number in range(24)]
    whole, half = (ask(encoding, texts, model=name) for name in ("whole", "half"))
    lengths = np.linalg.norm(whole, axis=1) * np.linalg.norm(half, axis=1)
    assert ((whole * half).sum(axis=1) / lengths).min() >= 0.9999
    assert off(whole, half) > 1e-4


def test_a_decoder_s_last_token_and_its_prompts(encoding: httpx.Client, encoders: Path) -> None:
    (found,) = ask(encoding, "the cat", model="qwen")
    last = tiny.hidden(encoders / "qwen", "the cat")[-1].numpy()
    assert off(found, last / np.linalg.norm(last)) < 1e-5
    asked = ask(encoding, "the cat", model="qwen", prompt="query")
    assert off(asked, ask(encoding, "query : the cat", model="qwen")) <= 1e-6
    assert off(asked, found) > 1e-3
    error = refused(encoding, "the cat", model="qwen", prompt="passage")
    assert error["details"] == {"prompts": ["document", "query"]}


def test_dimensions_are_those_after_a_dense_layer(encoding: httpx.Client) -> None:
    assert ask(encoding, "the cat", model="dense").shape == (1, DENSE_SIZE)
    assert ask(encoding, "the cat", model="dense", dimensions=3).shape == (1, 3)
    error = refused(encoding, "the cat", model="dense", dimensions=DENSE_SIZE + 1)
    assert (error["param"], error["details"]["max"]) == ("dimensions", DENSE_SIZE)


def test_an_encoder_writes_nothing_and_ranks_nothing(encoding: httpx.Client) -> None:
    hello = {"messages": [{"role": "user", "content": "Hi"}]}
    for path, fields in (
        ("/v1/chat/completions", hello),
        ("/v1/completions", {"prompt": "Hi"}),
        ("/v1/rerank", {"query": "x", "documents": ["y"]}),
    ):
        answer = encoding.post(path, json={"model": "bert", **fields})
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "task_not_supported"
        assert "it can do: embeddings, similarity" in answer.json()["error"]["message"]


def test_a_checkpoint_dropped_into_the_folder_is_served(
    encoding: httpx.Client, encoders: Path, tmp_path: Path
) -> None:
    made = tiny.encoder(tmp_path / "late", "distilbert")
    # Complete from the first moment on.
    shutil.copytree(made, tmp_path / "copy")
    (tmp_path / "copy").rename(encoders / "late")
    wait_for(lambda: encoding.get("/v1/models/late").json().get("status") == "ready")
    expected = tiny.hidden(made, "a dog").mean(0).numpy()
    assert off(ask(encoding, "a dog", model="late")[0], expected) < 1e-4


@pytest.mark.parametrize("form", ["own", "other"])
def test_similarities_are_cosines_of_the_vectors(encoding: httpx.Client, form: str) -> None:
    source, sentences = "the big cat", [text(number) for number in range(200)]
    vectors = ask(encoding, [source, *sentences])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    fields: dict[str, Any] = {"source": source, "sentences": sentences}
    if form == "other":
        fields = {"inputs": {"source_sentence": source, "sentences": sentences}}
    told = encoding.post("/v1/similarity", json={"model": "bert", **fields}).json()
    scores = told if form == "other" else told["scores"]
    assert off(np.array(scores), vectors[1:] @ vectors[0]) < 1e-5


def test_a_large_answer_is_json_whatever_its_form(encoding: httpx.Client) -> None:
    texts = [text(number, 20) for number in range(2048)]
    for form in ("float", "base64"):
        body = {"model": "big", "input": texts[:300], "encoding_format": form}
        answer = encoding.post(PATH, json=body)
        assert answer.headers["content-length"] == str(len(answer.content))
        told = json.loads(answer.content)
        assert (told["object"], told["model"], len(told["data"])) == ("list", "big", 300)
