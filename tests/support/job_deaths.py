"""A process whose children take jobs in and carry them out, until each is killed in the middle.

`python -m tests.support.job_deaths FOLDER SEED DEATHS`. What a child was told to be on the disk it
notes in FOLDER/told before it goes on: "in ID WORK" for a submission, "out ID" for a completion.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from onebox.core.results import Artifact
from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.job import Job, NewJob
from onebox.services.jobs.store import JobStore

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
    folder, seed, deaths = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    os.fsync = lambda descriptor: None
    event.listen(Engine, "checkout", _hurry)
    for number in range(deaths):
        at_step, after_s = chance.randrange(1, STEPS), chance.uniform(0.01, LONGEST_S)
        child = os.fork()
        if child == 0:
            die = partial(_die_after, after_s) if number % 2 else partial(_die_at, at_step)
            asyncio.run(_live(folder, number, die))
            os._exit(3)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise SystemExit(f"child {number} ended by itself: {status}")


def _die_after(seconds: float) -> None:
    """By a signal that nothing of Python sees."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _die_at(step: int) -> None:
    """Before or after something reaches for the disk."""
    left = [step]

    def tick(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    replace = Path.replace
    event.listen(Engine, "commit", tick)
    event.listen(Engine, "checkin", tick)
    os.fsync = tick
    Path.replace = lambda old, new: (tick(), replace(old, new), tick())


def _hurry(connection: Any, *_: Any) -> None:
    # What is written outlives the process without it; only the machine would take it along.
    connection.execute("PRAGMA synchronous=OFF")


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
