"""A `Runner` between a store in memory and an executor that does as the test says."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from onebox.core.contracts import Priority
from onebox.core.errors import WorkerUnready
from onebox.core.results import Artifact
from onebox.services.jobs.attempts import Attempts
from onebox.services.jobs.events import Updates
from onebox.services.jobs.job import MAX_ATTEMPTS, Job, JobEvent, QueuedJob, StoredArtifact
from onebox.services.jobs.live import Live
from onebox.services.jobs.runner import Runner

Action = Callable[[Job, Live], Awaitable[Sequence[Artifact]]]


def waiting_job(job_id: str, **fields: Any) -> Job:
    given = {
        "caller": "key:1", "kind": "task", "surface": "job", "group": None, "position": 0,
        "task": "fake", "model": "a", "model_sha256": "0" * 64, "priority": "job",
        "state": "queued", "seq": 1, "attempt": 0, "lost": 0, "fence": None, "work": b"",
        "blobs": (), "public": {}, "created_at": 0.0, "started_at": None, "ended_at": None,
        "expires_at": None, "error": None, "artifacts": (), "webhook_url": None,
        "webhook_events": (), "timeout_s": None, "size_bytes": 0, **fields,
    }  # fmt: skip
    return Job(id=job_id, **given)


class FakeStore:
    """The rules of `JobStore` without a disk. `broken` is raised by the next writes, one each."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.changes: dict[str, list[JobEvent]] = {}
        self.broken: list[Exception] = []
        self.before_claim: Callable[[], Awaitable[None]] | None = None

    def add(self, job_id: str, **fields: Any) -> QueuedJob:
        job = self.jobs[job_id] = waiting_job(job_id, **fields)
        self._note(job, "queued")
        return QueuedJob(job.id, job.caller, job.priority, job.lost)

    async def claim(self, job_id: str) -> Job | None:
        if self.before_claim is not None:
            await self.before_claim()
        job = self.jobs.get(job_id)
        if job is None or job.state != "queued":
            return None
        attempt = job.attempt + 1
        kind = "started" if attempt == 1 else "retried"
        return self._set(job, kind, state="running", attempt=attempt, fence=f"f{attempt}")

    async def complete(self, job: Job, artifacts: Sequence[StoredArtifact]) -> Job | None:
        return self._end(job, "completed", state="completed", artifacts=tuple(artifacts))

    async def fail(self, job: Job, error: Mapping[str, Any]) -> Job | None:
        return self._end(job, "failed", state="failed", error=dict(error))

    async def release(
        self, job: Job, *, counted: bool, error: Mapping[str, Any] | None = None
    ) -> Job | None:
        lost = job.lost + counted
        if lost >= MAX_ATTEMPTS:
            failure = dict(error or {"code": "worker_lost"})
            return self._end(job, "failed", state="failed", error=failure, lost=lost)
        attempt = job.attempt if counted else job.attempt - 1
        return self._end(job, "queued", state="queued", lost=lost, attempt=attempt)

    async def cancel(self, job_id: str) -> Job:
        job = self.jobs[job_id]
        return job if job.has_ended else self._set(job, "cancelled", state="cancelled")

    async def delete(self, job_id: str) -> None:
        del self.jobs[job_id], self.changes[job_id]

    async def get(self, job_id: str) -> Job:
        return self.jobs[job_id]

    async def events(self, job_id: str, after: int = 0) -> list[JobEvent]:
        return [change for change in self.changes.get(job_id, []) if change.seq > after]

    def _end(self, job: Job, kind: Any, **changes: Any) -> Job | None:
        if self.broken:
            raise self.broken.pop(0)
        now = self.jobs.get(job.id)
        if now is None or now.state != "running" or now.fence != job.fence:
            return None
        return self._set(now, kind, **changes)

    def _set(self, job: Job, kind: Any, **changes: Any) -> Job:
        job = self.jobs[job.id] = dataclasses.replace(job, seq=job.seq + 1, **changes)
        self._note(job, kind)
        return job

    def _note(self, job: Job, kind: Any) -> None:
        change = JobEvent(job.seq, kind, 0.0, job.attempt, job.error)
        self.changes.setdefault(job.id, []).append(change)


class FakeFiles:
    """`broken` is raised by the next writes, one each."""

    def __init__(self) -> None:
        self.broken: list[Exception] = []

    def write(self, job: Job, number: int, artifact: Artifact) -> StoredArtifact:
        if self.broken:
            raise self.broken.pop(0)
        size = len(artifact.data or b"")
        return StoredArtifact(f"{job.fence}-{number}", artifact.media_type, size, "", {})


class FakeExecutor:
    """What a job does is `actions[job.id]`, or nothing. `open` are those that were let in."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}
        self.began: list[str] = []
        self.open: set[str] = set()
        self.most_open = 0

    async def run(self, job: Job, live: Live) -> Sequence[Artifact]:
        self.began.append(job.id)
        self.open.add(job.id)
        self.most_open = max(self.most_open, len(self.open))
        try:
            actions = self.actions.get(job.id)
            return await actions.pop(0)(job, live) if actions else []
        finally:
            self.open.discard(job.id)


class Workshop:
    """`is_up` tells of the worker."""

    def __init__(self, *, concurrency: int = 4, stop_s: float = 5.0) -> None:
        self.store, self.files, self.executor = FakeStore(), FakeFiles(), FakeExecutor()
        self.ends: list[tuple[str, str]] = []
        self.changed = 0
        self.is_up = True
        self.updates = Updates(self.store, lambda job_id: self.runner.live(job_id), self._changed)
        self.attempts = Attempts(
            self.store,
            self.files,
            self.updates,
            {"task": self.executor},
            ended=lambda task, state, seconds: self.ends.append((task, state)),
            write_again_s=0,
        )
        self.runner = Runner(
            self.attempts,
            self.updates,
            concurrency=concurrency,
            wait_ready=self._wait_ready,
            stop_s=stop_s,
        )

    def put(self, *job_ids: str, caller: str = "key:1", priority: Priority = "job", **fields: Any):
        """Jobs that wait."""
        self.runner.put(
            [self.store.add(it, caller=caller, priority=priority, **fields) for it in job_ids]
        )

    def does(self, job_id: str, *actions: Action) -> None:
        """What its first attempt does, its second, …; those after them do nothing."""
        self.executor.actions[job_id] = list(actions)

    def state(self, job_id: str) -> str:
        return self.store.jobs[job_id].state

    async def all_ended(self) -> None:
        await until(lambda: all(job.has_ended for job in self.store.jobs.values()))

    def _changed(self) -> None:
        self.changed += 1

    async def _wait_ready(self) -> None:
        if not self.is_up:
            raise WorkerUnready("the worker is starting", retry_after_s=1)


def raising(error: BaseException) -> Action:
    async def act(job: Job, live: Live) -> Sequence[Artifact]:
        raise error

    return act


def giving(*artifacts: Artifact) -> Action:
    async def act(job: Job, live: Live) -> Sequence[Artifact]:
        return artifacts

    return act


def waiting_for(event: asyncio.Event) -> Action:
    async def act(job: Job, live: Live) -> Sequence[Artifact]:
        await event.wait()
        return []

    return act


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)
