"""`Freezer`: makes of a prepared request what a job can keep for days, and the request again."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable

from onebox.core.contracts import Entry
from onebox.core.errors import ModelBusy, ModelNotFound, TaskNotSupported
from onebox.core.logs import current_origin
from onebox.core.plugins import TASKS
from onebox.services.catalogue import Catalogue
from onebox.services.jobs.job import Job
from onebox.services.jobs.live import Live
from onebox.services.jobs.work import TaskWork, Weights
from onebox.services.request import Options, Prepared, require_task

RETRY_S = 5.0
# How often a picture or a video shows itself while it is made, unless the client said how often.
PREVIEWS = {"partial_images": 3}


class Freezer:
    """Used from the event loop.

    Args:
        identify: the entry with its SHA-256, hashed in the calling thread if need be.
        timeout_s: how long an attempt at a job may take at most.
    """

    def __init__(
        self, catalogue: Catalogue, identify: Callable[[Entry], Entry], *, timeout_s: float
    ) -> None:
        self._catalogue = catalogue
        self._identify = identify
        self._timeout_s = timeout_s

    async def freeze(self, prepared: Prepared) -> TaskWork:
        """Waits for hashes that are still being made.

        Raises ModelNotFound, ModelBusy, and what the task finds wrong with the request: nobody is
        to learn that from a job that failed hours later.
        """
        # What another task is to bring first is not there yet.
        if prepared.before() is None:
            prepared.check()
        return TaskWork(
            task=prepared.task.name,
            model=await self._weights(prepared.entry),
            input={**dict(prepared.input), **previews_of(prepared)},
            companions={
                slot: await self._weights(entry) for slot, entry in prepared.companions.items()
            },
            origin=current_origin(),
        )

    async def restore(self, work: TaskWork, job: Job, live: Live, *, number: int = 0) -> Prepared:
        """The request for an attempt at the job, admitted already; `live` follows it.

        Raises ModelNotFound when a checkpoint is gone, or has other contents now.

        Args:
            number: of the request among those of the attempt, if there are several.
        """
        task = TASKS.get(work.task)
        if task is None:
            raise TaskNotSupported(f"this server no longer knows the task {work.task}")
        limit_s = min(job.timeout_s or self._timeout_s, self._timeout_s)
        deadline = time.monotonic() + limit_s
        entry = await self._exact(work.model)
        require_task(entry, work.task)
        return Prepared(
            id=secrets.token_hex(8),
            task=task,
            entry=entry,
            input=task.Input.model_validate(work.input),
            caller=job.caller,
            options=Options(f"{job.id}.{number}" if number else job.id, job.priority, limit_s),
            deadline=deadline,
            companions={
                slot: await self._exact(weights) for slot, weights in work.companions.items()
            },
            follow=live.follow,
            job_id=job.id,
        )

    async def _weights(self, entry: Entry) -> Weights:
        if entry.upstream is not None:
            # What lies there has no hash that could be known here.
            return Weights(entry.name, "")
        entry = await self._identified(entry)
        assert entry.sha256 is not None
        return Weights(entry.name, entry.sha256)

    async def _exact(self, weights: Weights) -> Entry:
        """The checkpoint with these contents, whatever it is called now."""
        if not weights.sha256:
            return await self._remote(weights)
        try:
            entry = await self._catalogue.named(weights.sha256)
        except ModelNotFound:
            # Its hash may be unknown: the one of that name may be it.
            entry = await self._by_name(weights)
        entry = await self._identified(entry)
        if entry.sha256 != weights.sha256:
            raise _gone(weights)
        return entry

    async def _remote(self, weights: Weights) -> Entry:
        entry = await self._by_name(weights)
        if entry.upstream is None:
            raise _gone(weights)
        return entry

    async def _by_name(self, weights: Weights) -> Entry:
        try:
            return await self._catalogue.named(weights.name)
        except ModelNotFound:
            raise _gone(weights) from None

    async def _identified(self, entry: Entry) -> Entry:
        if entry.sha256 is None:
            entry = await asyncio.to_thread(self._identify, entry)
        if entry.sha256 is None:
            raise ModelBusy(
                f"the files of {entry.name} cannot be read, or change; try again",
                param="model",
                retry_after_s=RETRY_S,
            )
        return entry


def previews_of(prepared: Prepared) -> dict[str, int]:
    """What is added to its input when it becomes a job, which can be looked at while it runs."""
    if prepared.entry.upstream is not None:
        # Not every server knows them.
        return {}
    asked = prepared.input
    left_out = type(asked).model_fields.keys() - asked.model_fields_set
    return {name: count for name, count in PREVIEWS.items() if name in left_out}


def _gone(weights: Weights) -> ModelNotFound:
    contents = f" with the SHA-256 {weights.sha256}" if weights.sha256 else " of another server"
    return ModelNotFound(
        f"the job was submitted for {weights.name}{contents}, "
        "and that is no longer there; put it back, or submit the job again",
        param="model",
        details={"model": weights.name, "sha256": weights.sha256 or None},
    )
