"""What a server counts of requests that end in all ways, and what another one knows of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.families.tiny_language_models import language_model
from tests.families.tiny_models import stable_diffusion
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ADMIN_KEY, running_server, wait_for
from tests.support.talking import ONE_THREAD

SETTINGS = {
    **ONE_THREAD,
    "ONEBOX_PLUGINS": "tests.support.dummy_plugin",
    "ONEBOX_PRICES": "pictures=1,steps-model:device_seconds=1000",
}
CHAT = {
    "model": "llama",
    "messages": [{"role": "user", "content": "Hi"}],
    "max_tokens": 5,
    "temperature": 0,
}
PICTURE = {"model": "sd", "prompt": "a red circle", "size": "64x64", "n": 2}
SLOW = {"model": "steps-model", "steps": 600, "step_s": 0.05}
BAD = {"model": "steps-model", "steps": 2, "step_s": 0.05, "fail": "bug"}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("counted")
    language_model(folder / "llama", max_position_embeddings=4096)
    stable_diffusion(folder / "sd")
    dummy_checkpoint(folder / "steps-model")
    return folder


def test_requests_that_end_in_all_ways_are_counted_right_and_for_good(
    models: Path, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    with running_server(data_dir, models, **SETTINGS) as server, server.client() as client:
        told = answered(client.post("/v1/chat/completions", json=CHAT))["usage"]
        streamed(client)
        answered(client.post("/v1/images/generations", json=PICTURE))
        assert client.post("/v1/tasks/steps", json=BAD).status_code == 500
        cancelled(client)
        left(client)
        # What the last ones took is not on the disk yet.
        assert server.stop() == 0
    rows, total = counted(data_dir, models)
    assert (total["ended"], total["requests"], total["pictures"]) == (6, 3, 2)
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_task.setdefault(row["task"], []).append(row)
    for row in by_task["chat"]:
        assert (row["status"], row["requests"], row["credits"]) == ("ok", 1, 0)
        assert row["prompt_tokens"] == told["prompt_tokens"]
        assert row["completion_tokens"] == told["completion_tokens"]
        assert row["device_seconds"] > 0
    (picture,) = by_task["text-to-image"]
    assert (picture["pictures"], picture["credits"]) == (2, 2)
    steps = {row["status"]: row for row in by_task["steps"]}
    assert [row["status"] for row in by_task["steps"]].count("cancelled") == 2
    for row in by_task["steps"]:
        assert row["requests"] == 0
        assert 0 < row["device_seconds"] < 20
        assert row["credits"] == pytest.approx(1000 * row["device_seconds"], rel=1e-3)
    assert steps["inference_failed"]["device_seconds"] >= 0.1


def counted(data_dir: Path, models: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What another server knows of it: single requests, and their sum."""
    with (
        running_server(data_dir, models, wait_ready=False, **SETTINGS) as server,
        server.client(ADMIN_KEY) as admin,
    ):
        rows: list[dict[str, Any]] = answered(admin.get("/v1/usage/requests"))["data"]
        return rows, answered(admin.get("/v1/usage"))["total"]


def answered(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()


def streamed(client: httpx.Client) -> None:
    with client.stream("POST", "/v1/chat/completions", json={**CHAT, "stream": True}) as answer:
        assert any(line == "data: [DONE]" for line in answer.iter_lines())


def cancelled(client: httpx.Client) -> None:
    """By its id, when it runs."""
    headers = {"X-Request-ID": "slow"}
    found: list[int] = []

    def ask() -> None:
        found.append(client.post("/v1/tasks/steps", json=SLOW, headers=headers).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    wait_for(lambda: is_running(client))
    answered(client.post("/v1/requests/slow/cancel"))
    thread.join(120)
    assert found == [499]


def left(client: httpx.Client) -> None:
    """The client goes when it runs."""
    events = {"Accept": "text/event-stream"}
    with client.stream("POST", "/v1/tasks/steps", json=SLOW, headers=events) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data:") and "step" in json.loads(line[5:]):
                return


def is_running(client: httpx.Client) -> bool:
    with httpx.Client(
        base_url=client.base_url, headers={"Authorization": f"Bearer {ADMIN_KEY}"}, timeout=120
    ) as admin:
        running = answered(admin.get("/v1/status"))["running"]
    return any(request["state"] == "running" for request in running["requests"])
