"""What is left on the disk when the server dies in the middle of things."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from onebox.services.jobs.query import JobQuery
from onebox.services.jobs.retention import Retention
from tests.support.job_deaths import TOLD, blob_of, carry_out, opened, result_of

DEATHS = 12
ROOT = Path(__file__).parents[3]


@pytest.mark.skipif(os.name != "posix", reason="processes fork")
@pytest.mark.parametrize("seed", [1])
def test_what_was_accepted_is_there_and_done_once(tmp_path, seed, monkeypatch):
    command = [sys.executable, "-m", "tests.support.job_deaths", tmp_path, seed, DEATHS]
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    subprocess.run(
        [str(part) for part in command],
        env={**os.environ, "PYTHONPATH": path},
        cwd=ROOT,
        timeout=300,
        check=True,
    )
    lines = [line.split() for line in (tmp_path / TOLD).read_text().splitlines()]
    sent = {line[1]: line[2].encode() for line in lines if line[0] == "in"}
    done = [line[1] for line in lines if line[0] == "out"]
    assert len(sent) > DEATHS
    assert len(set(done)) == len(done) > 0
    # What is looked at now is not how safe it is.
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    asyncio.run(check(tmp_path, sent, done))


async def check(folder, sent, done):
    database, files, store = opened(folder)
    waiting = store.recover()
    retention = Retention(store, database, files)
    await retention.sweep(files.job_ids())
    jobs = {job_id: await store.get(job_id) for job_id in sent}
    assert {job_id: job.work for job_id, job in jobs.items()} == sent
    # One may have been done that was stored when its sender died.
    assert {(await store.get(job_id)).state for job_id in done} == {"completed"}
    claimed = await asyncio.gather(*[store.claim(queued.id) for queued in waiting])
    assert all(await asyncio.gather(*[carry_out(store, files, job) for job in claimed]))
    ended, _ = await store.page(None, JobQuery(limit=10**6))
    assert {job.id for job in ended} >= set(sent)
    for listed in ended:
        job = await store.get(listed.id)
        lost = job.state == "failed" and job.lost == 3 and job.error["code"] == "worker_lost"
        assert job.state == "completed" or lost
        assert has_its_files(folder, job), job
    other, _, measured = opened(folder)
    measured.recover()
    assert measured.used_bytes() == store.used_bytes()
    assert measured.queued() == store.queued() == 0
    database.close()
    other.close()


def has_its_files(folder, job):
    """All that it names, whole, and nothing else."""
    lie = folder / "jobs" / job.id
    wanted = {f"in-{name}": blob_of(job.work) for name in job.blobs}
    assert len(job.artifacts) == (2 if job.state == "completed" else 0)
    for artifact in job.artifacts:
        wanted[artifact.name] = result_of(job.work)
        assert hashlib.sha256(wanted[artifact.name]).hexdigest() == artifact.sha256
    found = {path.name: path.read_bytes() for path in lie.iterdir()} if lie.exists() else {}
    return found == wanted
