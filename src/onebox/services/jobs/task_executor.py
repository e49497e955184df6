"""`TaskExecutor`: an attempt at a job that is a task's input."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from onebox.core.logs import work_for
from onebox.core.results import Artifact
from onebox.services.inference import Inference
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.freezer import Freezer
from onebox.services.jobs.job import Job
from onebox.services.jobs.live import Live
from onebox.services.jobs.work import TaskWork


async def task_work(job: Job, files: ArtifactFiles) -> TaskWork:
    """What a job of the kind "task" keeps, its files included."""
    read_blob = partial(files.read_blob, job)
    if not job.blobs:
        return TaskWork.unpack(job.work, read_blob)
    return await asyncio.to_thread(TaskWork.unpack, job.work, read_blob)


class TaskExecutor:
    """Takes the same way to the model as a request that is waited for."""

    def __init__(self, inference: Inference, freezer: Freezer, files: ArtifactFiles) -> None:
        self._inference = inference
        self._freezer = freezer
        self._files = files

    async def run(self, job: Job, live: Live) -> Sequence[Artifact]:
        """The results, each with its bytes. Raises the AppError that the attempt ended in."""
        work = await task_work(job, self._files)
        work_for(work.origin)
        prepared = await self._freezer.restore(work, job, live)
        outcome = await self._inference.run(prepared)
        return outcome.artifacts
