"""`Batches`: files of requests that are carried out when nobody waits. What routes use."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from onebox.core.errors import FileNotFound, InvalidInput, QueueFull
from onebox.core.settings import Settings
from onebox.core.units import DAY_S
from onebox.services.access.caller import UNLIMITED, Caller
from onebox.services.batches import rows
from onebox.services.batches.batch import PREFIX, Batch, BatchNotFound
from onebox.services.batches.course import Course, Parts
from onebox.services.batches.output import ErrorAnswer
from onebox.services.database import Database
from onebox.services.deferred_requests import DeferredRequests
from onebox.services.jobs.ids import is_id, new_id
from onebox.services.jobs.job import Job
from onebox.services.jobs.jobs import Jobs
from onebox.services.jobs.neighbours import LOOK_EVERY_S
from onebox.services.loops import stop_loop
from onebox.services.owner import owner_of
from onebox.services.uploads import Uploads

log = structlog.get_logger(__name__)

WINDOW = re.compile(r"([1-9]\d{0,2})([hd])")
WINDOW_S = {"h": 3600.0, "d": DAY_S}
AGAIN_S = 60.0
# Of one caller: each holds the ids of its lines in memory until they are jobs.
MAX_ACTIVE = 50
PURPOSE = "batch"


class Batches:
    """Lives on the gateway's event loop.

    Args:
        max_line_bytes: of one request.
        job_ttl_days: how long the result of a line is kept; 0 for ever.
        owner: the server, where several share the database.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        uploads: Uploads,
        *,
        max_line_bytes: int,
        job_ttl_days: float,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._uploads = uploads
        self._max_line_bytes = max_line_bytes
        # A batch must end before the first of its lines is deleted.
        self._max_window_s = max(job_ttl_days * DAY_S, DAY_S) if job_ttl_days else None
        self._owner = owner
        self._clock = clock
        self._looking: asyncio.Task[None] | None = None
        self._parts: Parts | None = None
        self._courses: dict[str, tuple[Course, asyncio.Task[None]]] = {}
        # Those that may have ended, noted by the threads of the database.
        self._over: set[str] = set()

    def line_changed(self, connection: Connection, job: Job) -> None:
        """A hook of the job store."""
        batch_id = rows.count_line(connection, job)
        if batch_id is not None:
            self._over.add(batch_id)

    def jobs_changed(self) -> None:
        """After such changes, on the event loop."""
        # They stay noted: when the threads note one, what they have written may not be seen yet.
        for batch_id in self._over & self._courses.keys():
            self._courses[batch_id][0].wake()

    def attach(self, jobs: Jobs, deferred: DeferredRequests, error_answer: ErrorAnswer) -> None:
        """What lines become, and how their errors look in a file. Before `start`."""
        self._parts = Parts(
            self._database,
            self._uploads,
            jobs,
            deferred,
            error_answer,
            max_line_bytes=self._max_line_bytes,
            clock=self._clock,
        )

    async def start(self) -> None:
        """Go on with those that had not ended when the server was stopped."""
        for batch_id in await self._database.write(lambda it: rows.adopted(it, self._owner)):
            self._begin(batch_id)
        if self._owner is not None:
            self._looking = asyncio.create_task(self._look_on(), name="batch-looks")

    async def close(self) -> None:
        if self._looking is not None:
            await stop_loop(self._looking)
        tasks = [task for _, task in self._courses.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def create(
        self,
        *,
        caller: Caller,
        endpoint: str,
        input_file_id: str,
        completion_window: str,
        metadata: dict[str, str] | None,
        output_lifetime_s: int | None,
    ) -> Batch:
        """Raises InvalidInput, also for a file that is not there or of another purpose, and
        QueueFull.
        """
        window_s = self._window_s(completion_window)
        await self._require_file(input_file_id, caller.id)
        now = self._clock()
        batch = Batch(
            id=new_id(PREFIX),
            caller=caller.id,
            allowance=None if caller.allowance == UNLIMITED else caller.allowance,
            endpoint=endpoint,
            completion_window=completion_window,
            input_file_id=input_file_id,
            state="validating",
            created_at=now,
            expires_at=now + window_s,
            times={},
            metadata=metadata,
            output_lifetime_s=output_lifetime_s,
            owner=self._owner,
        )
        await self._database.write(lambda connection: _add(connection, batch))
        self._begin(batch.id)
        return batch

    async def get(self, batch_id: str, caller: Caller) -> Batch:
        """Raises BatchNotFound; also for another's, unless the caller is an admin."""
        if not is_id(batch_id, PREFIX):
            raise BatchNotFound(f"there is no batch {batch_id[:64]}", param="batch_id")
        owner = None if caller.may("admin") else caller.id
        return await self._database.read(lambda connection: rows.load(connection, batch_id, owner))

    async def page(self, caller: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """The newest first, and whether there are more. Raises InvalidInput for what is no id."""
        if after is not None and not is_id(after, PREFIX):
            raise InvalidInput("after is not the id of a batch", param="after")
        return await self._database.read(
            lambda connection: rows.page(connection, caller, after=after, limit=limit)
        )

    async def cancel(self, batch_id: str, caller: Caller) -> Batch:
        """Its requests are stopped from now on; one that has ended stays as it is.

        Raises as `get` does.
        """
        await self.get(batch_id, caller)
        now = self._clock()
        batch = await self._database.write(
            lambda connection: rows.move(
                connection, batch_id, "cancelling", of=("validating", "in_progress"), now=now
            )
        )
        if batch_id in self._courses:
            self._courses[batch_id][0].wake()
        return batch

    async def finished(self, batch_id: str) -> None:
        """Until it has come to an end, or the server stops."""
        if batch_id in self._courses:
            await asyncio.wait({self._courses[batch_id][1]})

    def _begin(self, batch_id: str) -> None:
        assert self._parts is not None, "attach first"
        course = Course(self._parts, batch_id)
        task = asyncio.create_task(self._run(course), name=batch_id)
        self._courses[batch_id] = course, task
        task.add_done_callback(lambda _: self._forget(batch_id))

    async def _look_on(self) -> None:
        """At what other servers did to ours."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            for course, _ in self._courses.values():
                course.wake()

    def _forget(self, batch_id: str) -> None:
        del self._courses[batch_id]
        self._over.discard(batch_id)

    async def _run(self, course: Course) -> None:
        structlog.contextvars.bind_contextvars(batch=course.batch_id)
        while True:
            try:
                return await course.run()
            except Exception as error:
                # A disk that is full may have room again.
                log.error("batch_stopped", exc_info=error)
                await asyncio.sleep(AGAIN_S)

    async def _require_file(self, file_id: str, caller: str) -> None:
        try:
            upload = await self._uploads.get(file_id, caller)
        except FileNotFound as error:
            raise InvalidInput(error.message, param="input_file_id") from None
        if upload.purpose != PURPOSE:
            raise InvalidInput(
                f"the file was uploaded for {upload.purpose}; upload it with purpose={PURPOSE}",
                param="input_file_id",
            )

    def _window_s(self, window: str) -> float:
        match = WINDOW.fullmatch(window)
        if match is None:
            raise InvalidInput(
                "completion_window must be a number of hours or days, such as 24h",
                param="completion_window",
            )
        window_s = int(match[1]) * WINDOW_S[match[2]]
        if self._max_window_s is not None and window_s > self._max_window_s:
            raise InvalidInput(
                f"completion_window may have {self._max_window_s / DAY_S:g} days: results of jobs "
                "are not kept any longer (ONEBOX_JOB_TTL)",
                param="completion_window",
            )
        return window_s


def _add(connection: Connection, batch: Batch) -> None:
    if len(rows.active(connection, batch.caller)) >= MAX_ACTIVE:
        raise QueueFull(
            f"{MAX_ACTIVE} batches of yours have not ended, and there may be no more; wait for "
            "one, or cancel one",
            details={"max": MAX_ACTIVE, "queue": "batches"},
            retry_after_s=AGAIN_S,
        )
    rows.add(connection, batch)


def create_batches(settings: Settings, database: Database, uploads: Uploads) -> Batches:
    return Batches(
        database,
        uploads,
        max_line_bytes=settings.max_body_bytes,
        job_ttl_days=settings.job_ttl,
        owner=owner_of(settings),
    )
