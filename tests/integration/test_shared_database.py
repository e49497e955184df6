"""Two servers on one database: each does its own jobs, and one those of another that dies."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from onebox.services.database import sqlite_url
from onebox.services.tables import METADATA
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.mill_plugin import PLUGINS, milled
from tests.support.server import Server, running_server, wait_for

EMBEDDINGS = "/v1/embeddings"
# A PostgreSQL of no other use, whose tables are dropped; a file without one.
TEST_URL = "ONEBOX_TEST_DATABASE_URL"
LONG = {"steps": 100_000, "step_s": 0.02}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    if TEST_URL not in os.environ:
        return sqlite_url(tmp_path_factory.mktemp("shared") / "shared.db")
    engine = create_engine(os.environ[TEST_URL])
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return os.environ[TEST_URL]


@pytest.fixture(scope="module")
def settings(url: str) -> dict[str, str]:
    own = {"ONEBOX_DATABASE_URL": url, "ONEBOX_JOB_TAKEOVER": "8", "ONEBOX_JOB_CONCURRENCY": "1"}
    return {**PLUGINS, **own}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    dummy_checkpoint(folder / "mill")
    return folder


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory, models: Path, settings: dict[str, str]
) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("first") / "data", models, **settings) as server:
        yield server


@pytest.fixture(scope="module")
def long_jobs(first: Server) -> list[str]:
    """One that runs on the first server before the second one starts, one that waits there, and a
    short one behind it.
    """
    with first.client() as client:
        jobs = [submit(client, "long", **LONG) for _ in range(2)]
        wait_for(lambda: state(client, jobs[0]) == "running")
        return [*jobs, submit(client, "short")]


@pytest.fixture(scope="module")
def second(
    tmp_path_factory: pytest.TempPathFactory,
    models: Path,
    settings: dict[str, str],
    long_jobs: list[str],
) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("second") / "data", models, **settings) as server:
        yield server


def submit(client: httpx.Client, text: str, **more: Any) -> str:
    asked = {"task": "mill", "model": "mill", "input": {"text": text, "seed": 7, **more}}
    answer = client.post("/v1/jobs", json=asked)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def told(client: httpx.Client, job_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
    return answer


def state(client: httpx.Client, job_id: str) -> str:
    return str(told(client, job_id)["status"])


def waiting_batch(server: Server) -> str:
    """A batch whose only line waits for its turn."""
    body = {"model": "mill", "input": "Hello."}
    line = {"custom_id": "a", "method": "POST", "url": EMBEDDINGS, "body": body}
    with server.sdk() as sdk:
        file = sdk.files.create(file=("x.jsonl", json.dumps(line).encode()), purpose="batch")
        made = sdk.batches.create(
            input_file_id=file.id,
            endpoint=EMBEDDINGS,
            completion_window="24h",
        )
        wait_for(lambda: sdk.batches.retrieve(made.id).status == "in_progress")
        return str(made.id)


def test_a_server_that_starts_leaves_alone_what_another_one_runs(
    first: Server, second: Server, long_jobs: list[str]
) -> None:
    with first.client() as client, second.client() as other:
        for each in (client, other):
            found = [told(each, job) for job in long_jobs]
            assert [job["status"] for job in found] == ["running", "queued", "queued"]
            assert [job["attempt"] for job in found] == [1, 0, 0]
        # It has hands free for its own.
        own = submit(other, "own")
        wait_for(lambda: state(client, own) == "completed")
        assert other.get(f"/v1/jobs/{own}/result").content == milled("own", 7)
        missing = client.get(f"/v1/jobs/{own}/result")
        assert (missing.status_code, missing.json()["error"]["code"]) == (404, "file_not_found")


def test_a_job_is_cancelled_through_the_other_server(
    first: Server, second: Server, long_jobs: list[str]
) -> None:
    with first.client() as client, second.client() as other:
        with other.stream("GET", f"/v1/jobs/{long_jobs[0]}/events") as events:
            other.post(f"/v1/jobs/{long_jobs[0]}/cancel").raise_for_status()
            assert "event: cancelled" in events.read().decode()
        # The next one has its place.
        wait_for(lambda: state(other, long_jobs[1]) == "running")
        assert state(client, long_jobs[0]) == "cancelled"


def test_a_batch_is_cancelled_through_the_other_server(first: Server, second: Server) -> None:
    batch_id = waiting_batch(first)
    with second.sdk() as sdk:
        assert sdk.batches.cancel(batch_id).status == "cancelling"
        wait_for(lambda: sdk.batches.retrieve(batch_id).status == "cancelled")


def test_the_jobs_of_a_server_that_is_killed_are_done_by_the_other(
    first: Server, second: Server, long_jobs: list[str]
) -> None:
    _, ran, waited = long_jobs
    with second.client() as other:
        assert [state(other, job) for job in (ran, waited)] == ["running", "queued"]
        first.process.kill()
        first.process.wait()
        wait_for(lambda: told(other, ran)["attempt"] == 2)
        other.post(f"/v1/jobs/{ran}/cancel").raise_for_status()
        wait_for(lambda: state(other, waited) == "completed")
        assert told(other, waited)["attempt"] == 1
        assert other.get(f"/v1/jobs/{waited}/result").content == milled("short", 7)
