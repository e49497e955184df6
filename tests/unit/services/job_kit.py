"""A `JobStore` on a real database, with a clock of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from onebox.core.results import Artifact
from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.job import Job, NewJob
from onebox.services.jobs.store import JobStore
from onebox.services.tables import METADATA
from tests.support.clock import Clock

TEST_URL = "ONEBOX_TEST_DATABASE_URL"
# PostgreSQL too where one is reachable. Its tables are dropped!
BACKENDS = ["sqlite", *(["postgresql"] if TEST_URL in os.environ else [])]


def migrated(folder: Path) -> Path:
    """An SQLite database with its tables, all in one file."""
    path = folder / "onebox.db"
    Database(sqlite_url(path)).close()
    return path


def empty_url(backend: str, folder: Path, migrated_database: Path) -> str:
    """Of a database without rows."""
    if backend == "sqlite":
        return sqlite_url(shutil.copy(migrated_database, folder / "onebox.db"))
    url = os.environ[TEST_URL]
    engine = create_engine(url)
    with engine.begin() as connection:
        METADATA.drop_all(connection)
        connection.execute(text("DROP TABLE IF EXISTS alembic_version"))
    engine.dispose()
    return url


class Kit:
    """What a store is made of. `told` is what its hook saw."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder / "jobs"
        self.database = Database(url)
        self.files = ArtifactFiles(self.folder)
        self.clock = Clock(1000.0)
        self.told: list[tuple[str, str]] = []

    def store(self, **changes: Any) -> JobStore:
        options = {"ttl_days": 7.0, "max_bytes": 10**9, "max_queued": 1000, "hooks": [self._hook]}
        return JobStore(self.database, self.files, clock=self.clock, **{**options, **changes})

    def _hook(self, connection: Any, job: Job) -> None:
        self.told.append((job.id, job.state))


def new(**changes: Any) -> NewJob:
    fields = {
        "caller": "key-1",
        "kind": "task",
        "task": "text-to-image",
        "model": "shapes",
        "work": b"the work",
        "public": {"prompt": "a red circle"},
    }
    return NewJob(**{**fields, **changes})


async def insert(store: JobStore, **changes: Any) -> Job:
    (job,) = await store.insert([new(**changes)])
    return job


async def begin(store: JobStore, **changes: Any) -> Job:
    """A new job, claimed."""
    job = await store.claim((await insert(store, **changes)).id)
    assert job is not None
    return job


async def finish(kit: Kit, store: JobStore, job: Job, *results: bytes) -> Job | None:
    stored = [
        await asyncio.to_thread(kit.files.write, job, n, Artifact("image/png", data))
        for n, data in enumerate(results)
    ]
    return await store.complete(job, stored)


def lying(kit: Kit, job: Job) -> list[str]:
    """The files in the job's folder."""
    folder = kit.folder / job.id
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []
