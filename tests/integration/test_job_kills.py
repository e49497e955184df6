"""A server that is killed 30 times loses none of the jobs it has accepted, and doubles none."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.job_kills import (
    CLIENTS,
    MILL,
    VOICE,
    Left,
    Stream,
    Submission,
    files_of,
    left_behind,
    read_only,
)
from tests.support.mill_plugin import PLUGINS, mill_voice
from tests.support.server import Server, running_server, wait_for

SEED = 7
# While no worker is up yet nothing but submissions can be hit.
EARLY_KILLS, LATE_KILLS = 14, 16
EARLY_S, LATE_S = 0.7, 0.9
JOBS_A_LIFE = 9
# The last jobs of a life were sent just now, or are stored already.
LAST_SENT_S = 0.03
PATIENCE_S = 120.0
ENDED = ("completed", "failed", "cancelled")


def test_no_job_is_lost_or_doubled_by_thirty_kills(tmp_path: Path) -> None:
    dummy_checkpoint(tmp_path / "models" / MILL)
    mill_voice(tmp_path / "models" / VOICE)
    chance, stream = random.Random(SEED), Stream()
    kills = [False] * EARLY_KILLS + [True] * LATE_KILLS
    chance.shuffle(kills)
    lefts: list[Left] = []
    last_chance: list[str] = []
    data_dir, copies = tmp_path / "data", tmp_path / "copies"
    for is_late in kills:
        with served(tmp_path) as server:
            live_and_die(server, stream, chance, is_late=is_late, last_chance=last_chance)
        lefts.append(left_behind(data_dir, stream, copies))
        last_chance = lefts[-1].last_chance
    print(f"{len(stream.jobs)} jobs; the kills left:", *lefts, sep="\n")
    # Otherwise the kills came at the wrong times, and show nothing.
    assert any(left.cut_off for left in lefts)
    assert any(left.running for left in lefts)
    with served(tmp_path) as server, server.client() as client:
        with stream.flowing(server):
            wait_for(lambda: not stream.unanswered(), PATIENCE_S)
        jobs = [check_completed(client, job) for job in stream.jobs]
        print(f"attempts: {Counter(job['attempt'] for job in jobs)}")
        with read_only(data_dir) as database:
            check_rows(database, stream)
            named = named_files(database)
        # What attempts have left that did not end well is swept in the background.
        wait_for(lambda: files_of(data_dir) == named)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Server]:
    with running_server(folder / "data", folder / "models", wait_ready=False, **PLUGINS) as server:
        yield server


def live_and_die(
    server: Server, stream: Stream, chance: random.Random, *, is_late: bool, last_chance: list[str]
) -> None:
    """Until some moment. Not while a job has its third attempt: that it may not lose."""
    with server.client() as client, stream.flowing(server):
        try:
            for job_id in last_chance:
                wait_for(partial(has_ended, client, job_id), PATIENCE_S)
            if is_late:
                wait_for(lambda: client.get("/ready").status_code == 200, PATIENCE_S)
            pause_s = chance.uniform(0.0, LATE_S if is_late else EARLY_S) / JOBS_A_LIFE
            for _ in range(JOBS_A_LIFE):
                time.sleep(pause_s)
                stream.add(1)
            stream.add(CLIENTS)
            time.sleep(chance.uniform(0.0, LAST_SENT_S))
        finally:
            kill(server, with_worker=not is_late)


def kill(server: Server, *, with_worker: bool) -> None:
    """The gateway alone, or all of it, as when the machine goes down."""
    children = psutil.Process(server.process.pid).children(recursive=True) if with_worker else []
    server.process.kill()
    server.process.wait()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


def has_ended(client: httpx.Client, job_id: str) -> bool:
    return client.get(f"/v1/jobs/{job_id}").json()["status"] in ENDED


def check_completed(client: httpx.Client, submission: Submission) -> dict[str, Any]:
    (job_id,) = submission.answers
    wait_for(partial(has_ended, client, job_id), PATIENCE_S)
    job: dict[str, Any] = client.get(f"/v1/jobs/{job_id}").json()
    assert job["status"] == "completed", job
    assert len(job["result"]["artifacts"]) == 1
    result = client.get(f"/v1/jobs/{job_id}/result")
    assert result.content == submission.expected(client, job)
    return job


def check_rows(database: sqlite3.Connection, stream: Stream) -> None:
    """One row and one end for each key."""
    keys = database.execute("SELECT count(*), count(DISTINCT idempotency) FROM jobs").fetchone()
    assert keys == (len(stream.jobs), len(stream.jobs))
    ends = "SELECT count(*), count(DISTINCT job_id) FROM job_events WHERE type = 'completed'"
    assert database.execute(ends).fetchone() == keys


def named_files(database: sqlite3.Connection) -> dict[str, set[str]]:
    """The files that rows name, by job."""
    rows = database.execute("SELECT id, blobs, artifacts FROM jobs").fetchall()
    return {
        job_id: {f"in-{name}" for name in json.loads(blobs)}
        | {artifact["name"] for artifact in json.loads(artifacts)}
        for job_id, blobs, artifacts in rows
    }
