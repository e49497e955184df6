"""A job's life as server-sent events."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from onebox.api.native.job_answer import job_answer, progress_answer
from onebox.api.sse import event
from onebox.services.access.caller import Caller
from onebox.services.jobs.events import ENDS, Update
from onebox.services.jobs.job import Job, State
from onebox.services.jobs.jobs import Jobs

# What a client that comes back sends: the id of the last event that it saw.
RESUME_HEADER = "Last-Event-ID"
# What a job is after a change that is not its end.
STATUSES: Mapping[str, State] = {"queued": "queued", "started": "running", "retried": "queued"}


async def job_events(
    jobs: Jobs, job: Job, caller: Caller, after: str | None
) -> AsyncGenerator[bytes, None]:
    """Each change of the job's state and its progress between them, until it has ended.

    The last event holds the whole job.
    """
    async with contextlib.aclosing(jobs.events(job.id, after)) as updates:
        async for update in updates:
            if update.type in ENDS:
                job = await jobs.get(job.id, caller)
                data = job_answer(job, None)
            else:
                data = _data(job, update)
            yield event(update.type, data, event_id=update.id)


def _data(job: Job, update: Update) -> dict[str, Any]:
    """Of a change of state, or of progress."""
    if update.change is None:
        told = progress_answer(job.id, update.live)
        return {"id": job.id, "status": "running", **told}
    change = update.change
    return {
        "id": job.id,
        "status": STATUSES[change.type],
        "attempt": change.attempt,
        "at": change.at,
        "error": change.error,
    }
