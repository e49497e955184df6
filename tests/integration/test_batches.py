"""`/v1/batches` and requests in the background, with real workers and servers that are killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.families import tiny_models
from tests.families.random_encoders import encoder_models
from tests.families.tiny_language_models import language_model
from tests.support.server import Server, running_server, wait_for
from tests.support.talking import ONE_THREAD

LINES = 60
DONE_BEFORE_THE_KILL = 5


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = encoder_models(tmp_path_factory.mktemp("models"))
    language_model(folder / "llama")
    tiny_models.stable_diffusion(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, models, **ONE_THREAD) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def embedding(number: int) -> dict[str, Any]:
    return {"model": "bert", "input": f"the cat sat {'on the mat ' * (number % 5)}"}


def line(name: str, url: str, body: dict[str, Any]) -> dict[str, Any]:
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def begin(sdk: openai.OpenAI, endpoint: str, lines: list[dict[str, Any]]) -> str:
    text = "\n".join(json.dumps(one) for one in lines).encode()
    file = sdk.files.create(file=("lines.jsonl", text), purpose="batch")
    batch = sdk.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")  # type: ignore[call-overload]  # any of our endpoints
    return str(batch.id)


def ended(sdk: openai.OpenAI, batch_id: str) -> Any:
    def look() -> Any:
        batch = sdk.batches.retrieve(batch_id)
        return batch if batch.status in ("completed", "failed", "expired", "cancelled") else None

    return wait_for(look, 120)


def told(sdk: openai.OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    assert file_id is not None
    return [json.loads(text) for text in sdk.files.content(file_id).text.splitlines()]


def vector(answer: dict[str, Any]) -> Any:
    return np.array(answer["data"][0]["embedding"], np.float32)


def test_a_batch_outlives_a_server_that_is_killed(
    models: Path, tmp_path: Path, client: httpx.Client
) -> None:
    lines = [line(f"n-{n}", "/v1/embeddings", embedding(n)) for n in range(LINES)]
    lines.append(line("bad", "/v1/embeddings", {"model": "bert", "input": ""}))
    settings = {**ONE_THREAD, "ONEBOX_JOB_CONCURRENCY": "1"}
    with running_server(tmp_path / "data", models, **settings) as first, first.sdk() as sdk:
        batch_id = begin(sdk, "/v1/embeddings", lines)
        wait_for(
            lambda: (
                (counts := sdk.batches.retrieve(batch_id).request_counts)
                and counts.completed >= DONE_BEFORE_THE_KILL
            ),
            120,
        )
        first.process.kill()
        first.process.wait(120)
    with running_server(tmp_path / "data", models, **ONE_THREAD) as second, second.sdk() as sdk:
        batch = ended(sdk, batch_id)
        assert batch.status == "completed"
        assert (batch.request_counts.completed, batch.request_counts.failed) == (LINES, 1)
        answers = told(sdk, batch.output_file_id)
        (failure,) = told(sdk, batch.error_file_id)
    assert failure["custom_id"] == "bad"
    assert [answer["custom_id"] for answer in answers] == [f"n-{n}" for n in range(LINES)]
    for number in (0, 3, LINES - 1):
        found = answers[number]["response"]
        assert found["status_code"] == 200
        plain = client.post("/v1/embeddings", json=embedding(number)).json()
        assert np.abs(vector(found["body"]) - vector(plain)).max() < 1e-5


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", embedding(2)),
        ("/v1/images/generations", {"prompt": "a cat", "seed": 3, "model": "tiny", "steps": 2}),
        (
            "/v1/chat/completions",
            {
                "model": "llama",
                "messages": [{"role": "user", "content": "Hello"}],
                "max_tokens": 4,
                "temperature": 0,
                "deterministic": True,
            },
        ),
    ],
    ids=["embeddings", "picture", "chat"],
)
def test_a_request_in_the_background_brings_what_it_would_have_brought(
    client: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    plain = client.post(path, json=body)
    assert plain.status_code == 200, plain.text
    accepted = client.post(path, json={**body, "background": True})
    assert accepted.status_code == 202, accepted.text
    job = f"/v1/jobs/{accepted.json()['id']}"
    wait_for(lambda: client.get(job).json()["status"] == "completed", 60)
    later = client.get(f"{job}/result")
    assert later.headers["content-type"] == plain.headers["content-type"]
    assert _of_no_time(later.json()) == _of_no_time(plain.json())


def _of_no_time(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name not in ("id", "created")}
