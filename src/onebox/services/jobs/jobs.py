"""`Jobs`: work that is accepted now, done later and never lost. What routes use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from onebox.core.errors import FileNotFound
from onebox.core.plugins import TASKS
from onebox.services.access.caller import Caller
from onebox.services.inference import Inference
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.attempts import Executor
from onebox.services.jobs.events import Update, Updates
from onebox.services.jobs.freezer import Freezer
from onebox.services.jobs.job import (
    Job,
    JobNotFound,
    Kind,
    NewJob,
    QueuedJob,
    State,
    StoredArtifact,
    Surface,
)
from onebox.services.jobs.live import Live
from onebox.services.jobs.neighbours import Neighbours
from onebox.services.jobs.query import JobQuery
from onebox.services.jobs.retention import Retention
from onebox.services.jobs.runner import Runner
from onebox.services.jobs.store import JobStore
from onebox.services.jobs.task_executor import task_work
from onebox.services.request import Options


@dataclass(frozen=True, slots=True)
class Submission:
    """What a submission says beside what is to be done.

    Attributes:
        public: makes what its surface shows of the job (prompt, size, seed, …; small) of the
            complete input.
        webhook_url: checked already.
        idempotency_key: as the client gave it; `fingerprint` is of the whole request.
    """

    surface: Surface = "job"
    public: Callable[[BaseModel], dict[str, Any]] = lambda _: {}
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    idempotency_key: str | None = None
    fingerprint: str | None = None


class Jobs:
    """Lives on the gateway's event loop.

    Args:
        executors: by kind; more may be added before `start`.
        ended: told of each job that was cancelled: its task, state, and 0 seconds.
        neighbours: other servers of the database, where there may be any.

    Attributes:
        files, freezer: for executors.
    """

    def __init__(
        self,
        store: JobStore,
        retention: Retention,
        files: ArtifactFiles,
        freezer: Freezer,
        inference: Inference,
        updates: Updates,
        runner: Runner,
        executors: dict[Kind, Executor],
        *,
        ended: Callable[[str, State, float], None],
        neighbours: Neighbours | None = None,
    ) -> None:
        self.files = files
        self.freezer = freezer
        self._store = store
        self._retention = retention
        self._inference = inference
        self._updates = updates
        self._runner = runner
        self._executors = executors
        self._ended = ended
        self._neighbours = neighbours

    def add_executor(self, kind: Kind, executor: Executor) -> None:
        """How jobs of a kind are carried out. Before `start`."""
        self._executors[kind] = executor

    async def start(self) -> None:
        """Take up what waits since the last run of the server."""
        waiting = await asyncio.to_thread(self._store.recover)
        await self._retention.start()
        self._runner.put(waiting)
        self._runner.start()
        if self._neighbours is not None:
            self._neighbours.start()

    async def close(self) -> None:
        """Give back what runs, and send away who watches. May be called twice."""
        self._updates.close()
        if self._neighbours is not None:
            await self._neighbours.close()
        await self._runner.close()
        await self._retention.close()
        await self._store.close()

    async def submit_task(
        self,
        task: str,
        request: BaseModel,
        *,
        model: str | None,
        caller: Caller,
        options: Options,
        submission: Submission,
    ) -> Job:
        """A job on the disk: the input complete, the seed chosen, the model fixed by its hash.

        `options.timeout_s` bounds an attempt; `options.priority` should be "job" unless the client
        said otherwise. Raises what `Inference.prepare` and `submit` do.
        """
        prepared = await self._inference.prepare(
            task, request, model=model, caller=caller, options=options
        )
        work = await self.freezer.freeze(prepared)
        data, blobs = work.pack() if work.is_plain() else await asyncio.to_thread(work.pack)
        new = NewJob(
            caller=caller.id,
            kind="task",
            task=task,
            model=work.model.name,
            work=data,
            surface=submission.surface,
            model_sha256=work.model.sha256 or None,
            priority=options.priority,
            public=submission.public(prepared.input),
            webhook_url=submission.webhook_url,
            webhook_events=submission.webhook_events,
            timeout_s=options.timeout_s,
            blobs=blobs,
            idempotency_key=submission.idempotency_key,
            fingerprint=submission.fingerprint,
        )
        (job,) = await self.submit([new])
        return job

    async def submit(self, jobs: Sequence[NewJob]) -> list[Job]:
        """Jobs on the disk, all or none; one that was sent before is the earlier one.

        Raises IdempotencyConflict, StorageFull, QueueFull.
        """
        # To the end, also when the client leaves: what is stored must be run.
        return await asyncio.shield(asyncio.ensure_future(self._submit(jobs)))

    async def _submit(self, new: Sequence[NewJob]) -> list[Job]:
        jobs = await self._store.insert(new)
        waiting = [job for job in jobs if job.state == "queued"]
        self._runner.put(QueuedJob(job.id, job.caller, job.priority, job.lost) for job in waiting)
        for job in waiting:
            self._updates.state_changed(job.id)
        return jobs

    async def get(self, job_id: str, caller: Caller) -> Job:
        """Raises JobNotFound; also for another's, unless the caller is an admin."""
        job = await self._store.get(job_id)
        if job.caller != caller.id and not caller.may("admin"):
            raise JobNotFound.of(job_id)
        return job

    async def page(self, caller: Caller, wanted: JobQuery) -> tuple[list[Job], bool]:
        """The caller's own, an admin's everybody's, and whether there are more of them."""
        return await self._store.page(None if caller.may("admin") else caller.id, wanted)

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        """End it; its work has stopped on return, or soon where another server does it. One that
        has ended stays as it is. Raises JobNotFound.
        """
        before = await self.get(job_id, caller)
        job = await self._store.cancel(job_id)
        self._updates.state_changed(job_id)
        if job.state == "cancelled" and not before.has_ended:
            self._ended(job.task, job.state, 0.0)
        await self._runner.stop(job_id)
        return job

    async def delete(self, job_id: str, caller: Caller) -> None:
        """With its files; its work has stopped on return. Raises JobNotFound."""
        await self.cancel(job_id, caller)
        await self._store.delete(job_id)
        self._updates.state_changed(job_id)

    def live(self, job_id: str) -> Live | None:
        """What an attempt at it does, while there is one."""
        return self._runner.live(job_id)

    def events(self, job_id: str, after: str | None = None) -> AsyncGenerator[Update, None]:
        """See `Updates.of`. Whoever asks was let through by `get`."""
        return self._updates.of(job_id, after)

    async def input_of(self, job: Job) -> BaseModel:
        """The complete input of a job of the kind "task", its binary parts included.

        Raises FileNotFound for those of another server.
        """
        try:
            work = await task_work(job, self.files)
        except FileNotFoundError:
            raise FileNotFound(
                "the files of the job are not here: they were deleted, or lie on the server that "
                "did it",
                param="id",
            ) from None
        found: BaseModel = TASKS[job.task].Input.model_validate(work.input)
        return found

    def artifact_path(self, job: Job, artifact: StoredArtifact) -> Path:
        return self.files.path_of(job, artifact)
