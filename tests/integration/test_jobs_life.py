"""What jobs outlive: their worker, their server, and how they are ended before their time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.faults_plugin import PLUGINS
from tests.support.server import Server, running_server, wait_for

ENDED = ("completed", "failed", "cancelled")
# A worker may have to start three times.
PATIENCE_S = 240.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs")
    dummy_checkpoint(folder / "models" / "alpha")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with running_server(folder / "data", folder / "models", **PLUGINS) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


def submit(client: httpx.Client, task: str, **given: Any) -> str:
    answer = client.post("/v1/jobs", json={"task": task, "input": given})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def fetch(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer = client.get(f"/v1/jobs/{job_id}")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def until_step(client: httpx.Client, job_id: str, step: int = 1) -> dict[str, Any]:
    wait_for(lambda: (fetch(client, job_id)["step"] or 0) >= step, PATIENCE_S)
    return fetch(client, job_id)


def until_ended(client: httpx.Client, job_id: str) -> dict[str, Any]:
    wait_for(lambda: fetch(client, job_id)["status"] in ENDED, PATIENCE_S)
    return fetch(client, job_id)


def at_work(client: httpx.Client) -> list[dict[str, Any]]:
    """The requests that are in the server."""
    return list(client.get("/v1/status").json()["running"]["requests"])


@pytest.fixture
def cue(tmp_path: Path) -> Path:
    """Nothing is there yet."""
    return tmp_path / "cue"


def test_how_far_it_is_and_what_came_of_it(client: httpx.Client, cue: Path) -> None:
    job_id = submit(client, "steps", steps=100, step_s=0.01, cue=str(cue))
    running = until_step(client, job_id, 5)
    assert running["status"] == "running"
    assert 5 <= running["progress"] < 100
    assert running["steps"] == 100
    cue.touch()
    done = until_ended(client, job_id)
    assert (done["status"], done["progress"], done["attempt"]) == ("completed", 100, 1)
    result = client.get(f"/v1/jobs/{job_id}/result")
    assert result.json()["steps"] == 100


def test_cancelling_stops_the_work_at_once(client: httpx.Client) -> None:
    job_id = submit(client, "steps", steps=100_000, step_s=0.01)
    until_step(client, job_id)
    answer = client.post(f"/v1/jobs/{job_id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert at_work(client) == []
    # The model is free again.
    assert client.post("/v1/tasks/steps", json={"steps": 1}).status_code == 200


def test_deleting_one_that_runs_stops_it_and_leaves_nothing(
    server: Server, client: httpx.Client
) -> None:
    job_id = submit(client, "steps", steps=100_000, step_s=0.01)
    until_step(client, job_id)
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 200
    assert at_work(client) == []
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404
    assert not (server.data_dir / "jobs" / job_id).exists()


def test_a_request_of_a_job_that_is_cancelled_as_a_request_ends_the_job(
    client: httpx.Client,
) -> None:
    job_id = submit(client, "steps", steps=100_000, step_s=0.01)
    until_step(client, job_id)
    assert client.post(f"/v1/requests/{job_id}/cancel").status_code == 200
    assert until_ended(client, job_id)["status"] == "cancelled"


def test_what_is_urgent_goes_before_jobs(client: httpx.Client, cue: Path) -> None:
    jobs = [submit(client, "steps", steps=3, step_s=0.01, cue=str(cue)) for _ in range(8)]
    assert client.post("/v1/tasks/echo", json={"text": "now"}).status_code == 200
    assert fetch(client, jobs[-1])["status"] == "queued"
    cue.touch()
    for job_id in jobs:
        assert until_ended(client, job_id)["status"] == "completed"


def test_a_job_that_ends_its_worker_each_time_fails_alone(client: httpx.Client, cue: Path) -> None:
    poison = submit(client, "fault", kind="sigkill", when=str(cue))
    innocent = submit(client, "steps", steps=2)
    for job_id in (poison, innocent):
        wait_for(lambda: fetch(client, job_id)["status"] == "running")  # noqa: B023
    cue.touch()
    failed = until_ended(client, poison)
    assert (failed["status"], failed["attempt"]) == ("failed", 3)
    assert failed["error"]["code"] == "worker_lost"
    done = until_ended(client, innocent)
    # It was beside the first attempt, and no other.
    assert (done["status"], done["attempt"]) == ("completed", 2)


def test_a_server_that_stops_and_one_that_is_killed(
    tmp_path: Path, folder: Path, cue: Path
) -> None:
    settings = {**PLUGINS, "ONEBOX_JOB_CONCURRENCY": "1"}
    data, models = tmp_path / "data", folder / "models"
    with running_server(data, models, **settings) as first, first.client() as client:
        long = submit(client, "steps", steps=30, step_s=0.01, cue=str(cue))
        waiting = [submit(client, "echo", text=str(number)) for number in range(5)]
        until_step(client, long)
        assert first.stop() == 0
    with running_server(data, models, **settings) as second, second.client() as client:
        # A stop that was asked for is no lost attempt.
        assert until_step(client, long)["attempt"] == 1
        second.process.kill()
        second.process.wait()
    cue.touch()
    with running_server(data, models, **settings) as third, third.client() as client:
        done = until_ended(client, long)
        assert (done["status"], done["attempt"]) == ("completed", 2)
        assert len(done["result"]["artifacts"]) == 1
        for number, job_id in enumerate(waiting):
            assert until_ended(client, job_id)["status"] == "completed"
            result = client.get(f"/v1/jobs/{job_id}/result").json()
            assert result["text"] == str(number)
