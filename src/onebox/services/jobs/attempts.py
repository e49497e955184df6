"""`Attempts`: one attempt at a job, from its claim to what is written of its end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog
from sqlalchemy.exc import DBAPIError

from onebox.core.errors import (
    AppError,
    Cancelled,
    ModelBusy,
    ModelUnloaded,
    OutOfMemory,
    QueueFull,
    RequestIdTaken,
    ShuttingDown,
    StorageFull,
    WorkerLost,
    WorkerUnready,
)
from onebox.core.results import Artifact
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.events import Updates
from onebox.services.jobs.job import Job, Kind, QueuedJob, State, StoredArtifact
from onebox.services.jobs.live import Live
from onebox.services.jobs.store import JobStore

log = structlog.get_logger(__name__)

T = TypeVar("T")

# Not the job's fault, and over sooner or later.
PASSING = (QueueFull, WorkerUnready, ModelBusy, ModelUnloaded, ShuttingDown, RequestIdTaken)
# May be the job's fault: tried again, but not for ever.
COUNTED = (WorkerLost, OutOfMemory)
# A disk that is full may have room again: what took minutes to make is not thrown away for it.
WRITE_AGAIN_S = 5.0
MAX_PAUSE_S = 60.0

Write = Callable[[], Awaitable[Job | None]]


class Executor(Protocol):
    """How jobs of one kind are carried out."""

    async def run(self, job: Job, live: Live) -> Sequence[Artifact]:
        """One attempt: its results, each with its bytes.

        Raises the AppError it ended in; its class decides what becomes of the job: see `PASSING`
        and `COUNTED`, all others are the job's end. `live.follow` gets each request to a model
        that it makes; `live.cancel` ends those, and what is raised then is Cancelled.
        """


@dataclass(frozen=True, slots=True)
class Again:
    """A job that waits once more, for its next attempt after some seconds."""

    job: QueuedJob
    pause_s: float


class Attempts:
    """Lives on the gateway's event loop.

    Args:
        executors: by kind of job.
        ended: told of each job that an attempt ended: its task, state, and seconds.
        write_again_s: until what could not be written is tried again.
    """

    def __init__(
        self,
        store: JobStore,
        files: ArtifactFiles,
        updates: Updates,
        executors: Mapping[Kind, Executor],
        *,
        ended: Callable[[str, State, float], None],
        clock: Callable[[], float] = time.monotonic,
        write_again_s: float = WRITE_AGAIN_S,
    ) -> None:
        self._store = store
        self._files = files
        self._updates = updates
        self._executors = executors
        self._ended = ended
        self._clock = clock
        self._write_again_s = write_again_s
        # How often in a row each job was tried in vain.
        self._in_vain: Counter[str] = Counter()

    async def make(self, job_id: str, live: Live) -> Again | None:
        """One attempt; nothing when the job no longer waits. Cancelling gives it back uncounted."""
        job = await self._claimed(job_id)
        if job is None:
            return None
        self._updates.state_changed(job_id)
        started = self._clock()
        try:
            write, error = await self._verdict(job, live)
            written = await self._until_written(write)
        except asyncio.CancelledError:
            await self._store.release(job, counted=False)
            raise
        if written is not None and written.state == "queued":
            return self._again(written, error)
        self._in_vain.pop(job_id, None)
        if written is not None:
            seconds = self._clock() - started
            failed = {"code": error.code} if error is not None else {}
            told = {"task": written.task, "state": written.state, "seconds": round(seconds, 3)}
            log.info("job_ended", **told, **failed)
            self._ended(written.task, written.state, seconds)
        return None

    async def _claimed(self, job_id: str) -> Job | None:
        """Waits for the claim when cancelled: it would be a lost attempt otherwise."""
        claiming = asyncio.ensure_future(self._store.claim(job_id))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            job = await claiming
            if job is not None:
                await self._store.release(job, counted=False)
            raise

    async def _verdict(self, job: Job, live: Live) -> tuple[Write, AppError | None]:
        """Carry it out; what is to be written then, and the error it ended in."""
        try:
            artifacts = await self._executors[job.kind].run(job, live)
            stored = await self._until_written(partial(self._kept, job, live, artifacts))
        except Cancelled as error:
            if live.cancelled:
                # Its row says so already: this attempt is no longer its own.
                return partial(self._store.release, job, counted=False), error
            return partial(self._store.cancel, job.id), error
        except PASSING as error:
            return partial(self._store.release, job, counted=False), error
        except COUNTED as error:
            log.warning("job_attempt_lost", job=job.id, attempt=job.attempt, why=error.message)
            # What the worker died of is not what the job says of itself, when that was its last.
            failure = None if isinstance(error, WorkerLost) else _failure(error)
            return partial(self._store.release, job, counted=True, error=failure), error
        except AppError as error:
            return partial(self._store.fail, job, _failure(error)), error
        except Exception as error:
            log.error("job_failed", job=job.id, exc_info=error)
            unknown = AppError("the job failed; the server's log says why")
            return partial(self._store.fail, job, _failure(unknown)), unknown
        return partial(self._store.complete, job, stored), None

    async def _kept(
        self, job: Job, live: Live, artifacts: Sequence[Artifact]
    ) -> list[StoredArtifact]:
        try:
            return [
                await asyncio.to_thread(self._files.write, job, number, artifact)
                for number, artifact in enumerate(artifacts)
            ]
        except FileNotFoundError:
            # Whoever ends a job deletes what it does not name, also while that is written.
            now = await self._store.get(job.id)
            if (now.state, now.fence) == ("running", job.fence):
                raise
            live.cancel()
            raise Cancelled("the job was ended") from None

    async def _until_written(self, write: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await write()
            except (OSError, StorageFull, DBAPIError) as error:
                log.error("job_not_written", exc_info=error)
                await asyncio.sleep(self._write_again_s)

    def _again(self, job: Job, error: AppError | None) -> Again:
        """The more often in vain, the later."""
        asked_s = (error.retry_after_s if error else None) or 0.0
        grown_s = min(2.0 ** self._in_vain[job.id], MAX_PAUSE_S)
        self._in_vain[job.id] += 1
        queued = QueuedJob(job.id, job.caller, job.priority, job.lost)
        return Again(queued, max(asked_s, grown_s))


def _failure(error: AppError) -> dict[str, Any]:
    return {"code": error.code, "message": error.message, "param": error.param}
