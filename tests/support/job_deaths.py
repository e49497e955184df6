"""A process whose children take jobs in and carry them out, until each is killed in the middle.

`python -m tests.support.job_deaths FOLDER SEED DEATHS`. What a child was told to be on the disk it
notes in FOLDER/told before it goes on: "in ID WORK" for a submission, "out ID" for a completion.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from onebox.core.results import Artifact
from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.job import Job, NewJob
from onebox.services.jobs.store import JobStore
from tests.support.deaths import Tick, die_one_by_one

TOLD = "told"
# A child dies at one of its first so many steps that reach for the disk, or at some moment.
STEPS = 200
LONGEST_S = 0.2
WORKERS = 3
SENDERS = 6


def result_of(work: bytes) -> bytes:
    return hashlib.sha256(work).digest() * 100


def blob_of(work: bytes) -> bytes:
    return work * 500


def opened(folder: Path) -> tuple[Database, ArtifactFiles, JobStore]:
    database = Database(sqlite_url(folder / "onebox.db"))
    files = ArtifactFiles(folder / "jobs")
    store = JobStore(database, files, ttl_days=7, max_bytes=10**9, max_queued=10**6)
    return database, files, store


async def carry_out(store: JobStore, files: ArtifactFiles, job: Job) -> Job | None:
    """An attempt with two results."""
    data = result_of(job.work)
    stored = [
        await asyncio.to_thread(files.write, job, n, Artifact("image/png", data)) for n in range(2)
    ]
    return await store.complete(job, stored)


def main() -> None:
    os.fsync = lambda descriptor: None
    die_one_by_one(_live, steps=STEPS, longest_s=LONGEST_S, watch=_watch_files)


def _watch_files(tick: Tick) -> None:
    """Before or after a file reaches the disk."""
    replace = Path.replace
    os.fsync = tick
    Path.replace = lambda old, new: (tick(), replace(old, new), tick())


async def _live(folder: Path, number: int, die: Callable[[], None]) -> None:
    _, files, store = opened(folder)
    die()
    told = os.open(folder / TOLD, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    waiting: asyncio.Queue[str] = asyncio.Queue()
    for queued in store.recover():
        waiting.put_nowait(queued.id)

    async def send(sender: int) -> None:
        for n in range(10**6):
            work = f"{number}-{sender}-{n}".encode()
            blobs = {"image": blob_of(work)} if n % 3 == 0 else {}
            (job,) = await store.insert([_new(work, blobs)])
            os.write(told, f"in {job.id} {work.decode()}\n".encode())
            waiting.put_nowait(job.id)

    async def carry() -> None:
        while True:
            job = await store.claim(await waiting.get())
            if job is not None and await carry_out(store, files, job):
                os.write(told, f"out {job.id}\n".encode())

    await asyncio.gather(*map(send, range(SENDERS)), *[carry() for _ in range(WORKERS)])


def _new(work: bytes, blobs: dict[str, bytes]) -> NewJob:
    return NewJob(caller="key-1", kind="task", task="t", model="m", work=work, blobs=blobs)


if __name__ == "__main__":
    main()
