"""Deletes jobs that are past their time, and files that belong to none."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import structlog

from onebox.services.database import Database
from onebox.services.jobs import rows
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.job import Job
from onebox.services.jobs.store import CHUNK, JobStore
from onebox.services.loops import stop_loop

log = structlog.get_logger(__name__)

EVERY_S = 600.0


class Retention:
    """Looks after what is stored, now and then. Lives on the gateway's event loop.

    Args:
        is_shared: other servers may delete our jobs, whose files are left over then.
        every_s: how long it sleeps.
    """

    def __init__(
        self,
        store: JobStore,
        database: Database,
        files: ArtifactFiles,
        *,
        is_shared: bool = False,
        every_s: float = EVERY_S,
    ) -> None:
        self._store = store
        self._database = database
        self._files = files
        self._is_shared = is_shared
        self._every_s = every_s
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Before the first job is submitted: what lies there then belongs to a row or to nobody."""
        folders = await asyncio.to_thread(self._files.job_ids)
        self._task = asyncio.create_task(self._run(folders), name="job-retention")

    async def close(self) -> None:
        if self._task is not None:
            await stop_loop(self._task)

    async def sweep(self, folders: Sequence[str]) -> None:
        """Delete in these job folders what no row names, and those that have no row."""
        for begin in range(0, len(folders), CHUNK):
            await self._sweep(folders[begin : begin + CHUNK])

    async def expire(self) -> None:
        """Delete the jobs that are past their time."""
        while await self._store.expire() >= CHUNK:
            pass

    async def _sweep(self, folders: Sequence[str]) -> None:
        # Files before rows: what an attempt writes after its row was read is not among them.
        names = await asyncio.to_thread(self._names, folders)
        jobs = await self._database.read(lambda connection: rows.load_all(connection, folders))
        await asyncio.to_thread(self._keep, names, jobs)

    def _names(self, folders: Sequence[str]) -> dict[str, list[str]]:
        return {folder: self._files.names(folder) for folder in folders}

    def _keep(self, names: Mapping[str, list[str]], jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._files.keep(job, names[job.id])
        for folder in names.keys() - {job.id for job in jobs}:
            self._files.remove(folder)

    async def _run(self, folders: Sequence[str]) -> None:
        unswept = folders
        while True:
            try:
                await self.sweep(unswept)
                # What lies there now has its row when the next round begins.
                unswept = await asyncio.to_thread(self._files.job_ids) if self._is_shared else ()
                await self.expire()
            except Exception as error:
                # Disks have bad moments; the next round tries again.
                log.error("jobs_not_tidied", exc_info=error)
            await asyncio.sleep(self._every_s)
