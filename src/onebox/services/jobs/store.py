"""The jobs that are stored: every change of one is a transaction, on the disk when it returns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection

from onebox.core.units import DAY_S
from onebox.services.database import Database
from onebox.services.jobs import changes, query, rows, sharing
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.ids import is_id
from onebox.services.jobs.insertion import Insertion
from onebox.services.jobs.job import (
    PREFIXES,
    Job,
    JobEvent,
    JobNotFound,
    NewJob,
    QueuedJob,
    State,
    StoredArtifact,
)
from onebox.services.jobs.query import JobQuery
from onebox.services.jobs.room import Room
from onebox.services.jobs.rows import Changed, Decision, Hook

T = TypeVar("T")

# How many jobs are looked at, or deleted, at a time.
CHUNK = 200


class JobStore:
    """Owns the rows of jobs and, through `files`, their folders. Lives on the gateway's event loop.

    What is begun is done to its end, also when whoever awaits it is cancelled.

    Args:
        files: where binary parts and results lie.
        hooks: called in each transaction that changes a state, with the job as it is after it.
        ttl_days: how long a job is kept after its end; 0 for ever.
        max_bytes: of all jobs and their files together; a submission beyond it is refused.
        max_queued: how many may wait.
        owner: the server, where several share the database: each has its own jobs, which alone it
            counts, carries out and deletes. None: there is no other.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        files: ArtifactFiles,
        *,
        ttl_days: float,
        max_bytes: int,
        max_queued: int,
        hooks: Sequence[Hook] = (),
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._files = files
        self._hooks = hooks
        self._ttl_s = ttl_days * DAY_S
        self._owner = owner
        self._clock = clock
        self._room = Room(max_bytes=max_bytes, max_queued=max_queued)
        self._insertion = Insertion(database, files, self._room, hooks, clock, owner)
        self._begun: set[asyncio.Task[Any]] = set()

    def recover(self) -> list[QueuedJob]:
        """Call once at start, before all else: the jobs that wait, oldest first.

        What ran when the server ended has lost an attempt: it waits again, or has failed. Blocking.
        """
        jobs, queued, used_bytes = self._database.write_now(self._recover)
        self._room.measured(queued, used_bytes)
        return jobs

    async def insert(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Store jobs with their binary parts, all or none; returns when they are on the disk.

        They go into one transaction: some hundreds at a time. One whose key and fingerprint were
        sent before is the earlier job. Raises IdempotencyConflict, StorageFull, and QueueFull.
        """
        return await self._to_the_end(self._insertion.insert(jobs))

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        _require_id(job_id)
        job = await self._database.read(lambda connection: rows.load(connection, job_id))
        return _found(job, job_id)

    async def page(self, caller: str | None, wanted: JobQuery) -> tuple[list[Job], bool]:
        """Jobs without their `work`, and whether there are more; `caller` None is all callers'."""
        return await self._database.read(lambda connection: query.page(connection, caller, wanted))

    async def counts(self, group: str | None = None) -> dict[State, int]:
        """How many jobs are in each state that any are in: of one batch, or of all."""
        return await self._database.read(lambda connection: rows.counts(connection, group))

    async def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        """The changes of a job's state after the one of that number, oldest first."""
        return await self._database.read(lambda connection: rows.events(connection, job_id, after))

    async def claim(self, job_id: str) -> Job | None:
        """Begin an attempt: the job with its new fence, or None when it no longer waits."""
        changed = await self._change(job_id, changes.claimed(self._clock(), self._owner))
        return changed.after if changed is not None and changed.was_made else None

    async def complete(self, job: Job, artifacts: Sequence[StoredArtifact]) -> Job | None:
        """End an attempt well; None when it is no longer the job's (its files are deleted)."""
        decision = changes.completed(job, artifacts, self._clock(), self._ttl_s)
        return await self._leave(job, decision)

    async def fail(self, job: Job, error: Mapping[str, Any]) -> Job | None:
        """End an attempt with {"code", "message", "param"}; None as `complete`."""
        return await self._leave(job, changes.failed(job, error, self._clock(), self._ttl_s))

    async def release(
        self, job: Job, *, counted: bool, error: Mapping[str, Any] | None = None
    ) -> Job | None:
        """Give an attempt up: the job waits again, or has failed when `counted` was its last.

        `error` is what it then fails with, "worker_lost" by default. None as `complete`.
        """
        now = self._clock()
        if not counted:
            return await self._leave(job, changes.given_back(job, now))
        return await self._leave(job, changes.lost(job, error, now, self._ttl_s))

    async def cancel(self, job_id: str) -> Job:
        """End one that waits or runs; one that has ended stays as it is. Raises JobNotFound."""
        _require_id(job_id)
        changed = await self._change(job_id, changes.cancelled(self._clock(), self._ttl_s))
        return _found(changed and changed.after, job_id)

    async def delete(self, job_id: str) -> None:
        """With its files, in whatever state it is. Raises JobNotFound."""
        _require_id(job_id)

        def find(connection: Connection) -> list[Job]:
            job = rows.locked(connection, job_id)
            return [] if job is None else [job]

        if not await self._to_the_end(self._delete(find)):
            raise JobNotFound.of(job_id)

    async def expire(self) -> int:
        """Delete those that are past their time, at most CHUNK of them; how many it were."""
        now = self._clock()
        return await self._to_the_end(
            self._delete(lambda connection: rows.expired(connection, now, CHUNK, self._owner))
        )

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Of the table of jobs."""
        return await self._database.read(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Beside the table of jobs."""
        return await self._database.write(work)

    async def take_over(self, lost: str, beat: int) -> list[QueuedJob]:
        """The jobs of another server that any can do, if it has not counted on: those that wait.

        What ran there has lost an attempt.
        """
        taken = await self._to_the_end(
            self._database.write(lambda connection: self._taken(connection, lost, beat))
        )
        await self.measure()
        return taken

    async def measure(self) -> None:
        """Count anew what is stored: others may have ended and deleted some of it."""
        own = self._owner
        self._room.measured(*await self._database.read(lambda it: rows.totals(it, own)))

    async def close(self) -> None:
        """Wait for what was begun."""
        if self._begun:
            await asyncio.wait(self._begun)

    def used_bytes(self) -> int:
        return self._room.used_bytes

    def queued(self) -> int:
        return self._room.queued

    def _recover(self, connection: Connection) -> tuple[list[QueuedJob], int, int]:
        own = self._owner
        if own is not None:
            sharing.adopt(connection, own)
        self._lose(connection, rows.running(connection, own))
        return rows.queued(connection, own), *rows.totals(connection, own)

    def _taken(self, connection: Connection, lost: str, beat: int) -> list[QueuedJob]:
        assert self._owner is not None
        jobs = sharing.take(connection, lost, beat, self._owner)
        lost_jobs = self._lose(connection, [job for job in jobs if job.state == "running"])
        found = [lost_jobs.get(job.id, job) for job in jobs]
        waiting = (job for job in found if job.state == "queued")
        return [QueuedJob(job.id, job.caller, job.priority, job.lost) for job in waiting]

    def _lose(self, connection: Connection, jobs: Sequence[Job]) -> dict[str, Job]:
        """Their attempts; as they are then."""
        now, found = self._clock(), {}
        for job in jobs:
            decision = changes.lost(job, None, now, self._ttl_s)
            changed = rows.change(connection, job.id, decision, self._hooks)
            if changed is not None:
                found[job.id] = changed.after
        return found

    def _is_own(self, job: Job) -> bool:
        return self._owner is None or job.owner == self._owner

    async def _leave(self, attempt: Job, decision: Decision) -> Job | None:
        """The job after the end of an attempt at it, or None when that is not its own any more."""
        changed = await self._change(attempt.id, decision)
        if changed is not None and (changed.was_made or _ended_by(attempt, changed.after)):
            return changed.after
        await asyncio.to_thread(self._files.discard, attempt)
        return None

    async def _change(self, job_id: str, decision: Decision) -> Changed | None:
        return await self._to_the_end(self._changed(job_id, decision))

    async def _changed(self, job_id: str, decision: Decision) -> Changed | None:
        changed = await self._database.write(
            lambda connection: rows.change(connection, job_id, decision, self._hooks)
        )
        if changed is not None and changed.was_made:
            if self._is_own(changed.after):
                self._room.change(*changed)
            await asyncio.to_thread(self._tidy, changed.after)
        return changed

    async def _delete(self, find: Callable[[Connection], list[Job]]) -> int:
        def delete(connection: Connection) -> list[Job]:
            jobs = find(connection)
            rows.remove(connection, jobs)
            return jobs

        jobs = await self._database.write(delete)
        self._room.give_back(job for job in jobs if self._is_own(job))
        await asyncio.to_thread(self._remove_files, jobs)
        return len(jobs)

    def _tidy(self, job: Job) -> None:
        """Delete what attempts have left that did not end well."""
        self._files.keep(job, self._files.names(job.id))

    def _remove_files(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._files.remove(job.id)

    async def _to_the_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Counters and files must follow the rows, whoever has left meanwhile."""
        task = asyncio.ensure_future(work)
        self._begun.add(task)
        task.add_done_callback(self._begun.discard)
        return await asyncio.shield(task)


def _ended_by(attempt: Job, job: Job) -> bool:
    """Whether the attempt's end was written before, by a call that failed after it."""
    return job.state in ("completed", "failed") and job.fence == attempt.fence


def _require_id(job_id: str) -> None:
    if not any(is_id(job_id, prefix) for prefix in PREFIXES.values()):
        raise JobNotFound.of(job_id)


def _found(job: Job | None, job_id: str) -> Job:
    if job is None:
        raise JobNotFound.of(job_id)
    return job
