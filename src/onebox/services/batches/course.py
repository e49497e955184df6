"""`Course`: one batch from its file to its answers. Whatever it has done is not done again when it
begins anew: the state of a batch is in its row, and its lines are jobs.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

import msgspec
import structlog

from onebox.core.errors import AppError, FileNotFound, QueueFull, StorageFull
from onebox.services.access.caller import UNLIMITED, Caller
from onebox.services.batches import rows
from onebox.services.batches.asked import asked_of
from onebox.services.batches.batch import Batch, State
from onebox.services.batches.lines import Line, LineReader, Problem, UnusableFile
from onebox.services.batches.output import ErrorAnswer, OutputWriter
from onebox.services.database import Database
from onebox.services.deferred_requests import (
    SCOPES,
    UNKNOWN_STATUS,
    DeferredRequests,
    Refusal,
)
from onebox.services.jobs import rows as job_rows
from onebox.services.jobs.job import Job, NewJob
from onebox.services.jobs.job import State as JobState
from onebox.services.jobs.jobs import Jobs
from onebox.services.jobs.query import JobQuery
from onebox.services.upload_rows import Upload
from onebox.services.uploads import Uploads

log = structlog.get_logger(__name__)

# So many lines become jobs together, are stopped together, and are written together.
CHUNK = 100
RETRY_S = 30.0
OUTPUT_PURPOSE = "batch_output"


@dataclass(frozen=True, slots=True)
class Parts:
    """What batches are carried out with.

    Attributes:
        error_answer: how an error looks in a file.
        max_line_bytes: of one request.
        clock: seconds since 1970.
    """

    database: Database
    uploads: Uploads
    jobs: Jobs
    deferred: DeferredRequests
    error_answer: ErrorAnswer
    max_line_bytes: int
    clock: Callable[[], float]


class Course:
    """Lives on the gateway's event loop."""

    def __init__(self, parts: Parts, batch_id: str) -> None:
        self.batch_id = batch_id
        self._parts = parts
        self._news = asyncio.Event()

    def wake(self) -> None:
        """It may be cancelled, or its last line may have ended."""
        self._news.set()

    async def run(self) -> None:
        """To its end. May be cancelled, and begun again."""
        batch = await self._load()
        if batch.state == "validating":
            batch = await self._validate(batch)
        while batch.state == "in_progress":
            self._news.clear()
            batch = await self._load()
            if batch.completed + batch.failed >= batch.total:
                batch = await self._move("finalizing", of=("in_progress",))
            elif batch.state == "in_progress" and not await self._waited(batch.expires_at):
                return await self._stop(batch, "expired")
        if batch.state == "cancelling":
            return await self._stop(batch, "cancelled")
        if batch.state == "finalizing":
            await self._finish(batch, "completed")
        return None

    async def _waited(self, until: float) -> bool:
        """Whether there is news before that time."""
        try:
            async with asyncio.timeout(max(0.0, until - self._parts.clock())):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def _validate(self, batch: Batch) -> Batch:
        """Make jobs of its lines, in their order; those that cannot be carried out fail as jobs."""
        reader = LineReader(batch.endpoint, self._parts.max_line_bytes)
        try:
            _, path = await self._parts.uploads.open(batch.input_file_id, batch.caller)
            total = await asyncio.to_thread(reader.survey, path)
        except FileNotFound as error:
            await self._end_lines(batch)
            return await self._fail(Problem(error.code, error.message, "input_file_id"))
        except UnusableFile as error:
            return await self._fail(*error.problems)
        known = await self._parts.database.read(lambda c: job_rows.counts(c, batch.id))
        await self._change(total=total)
        lines = reader.lines(path)
        await asyncio.to_thread(_skip, lines, sum(known.values()))
        while chunk := await asyncio.to_thread(_taken, lines):
            new = [await self._new_job(batch, line) for line in chunk]
            if not await self._submitted(batch, new):
                break
        return await self._move("in_progress", of=("validating",))

    async def _submitted(self, batch: Batch, jobs: Sequence[NewJob]) -> bool:
        """Waits for room. Whether there is still something to do for the batch."""
        is_told = False
        while True:
            self._news.clear()
            batch = await self._load()
            if batch.state != "validating" or self._parts.clock() >= batch.expires_at:
                return False
            try:
                await self._parts.jobs.submit(jobs)
                return True
            except (QueueFull, StorageFull) as error:
                if not is_told:
                    log.warning("batch_waits", code=error.code, message=error.message)
                is_told = True
                await self._waited(self._parts.clock() + (error.retry_after_s or RETRY_S))

    async def _new_job(self, batch: Batch, line: Line) -> NewJob:
        if line.problem is not None:
            problem = line.problem
            made: NewJob | Refusal = Refusal(problem.code, problem.message, problem.param)
        else:
            made = await self._recorded(batch, line)
        public: dict[str, Any] = {"path": batch.endpoint, "custom_id": line.custom_id}
        if isinstance(made, Refusal):
            public["refused"] = msgspec.structs.asdict(made)
            made = self._parts.deferred.refused(made, batch.caller)
        return replace(
            made,
            surface="batch",
            priority="batch",
            group=batch.id,
            position=line.number,
            public=public,
        )

    async def _recorded(self, batch: Batch, line: Line) -> NewJob | Refusal:
        parts = self._parts
        try:
            asked = await asked_of(
                batch.endpoint,
                line.body,
                parts.uploads,
                batch.caller,
                max_bytes=parts.max_line_bytes,
            )
            request_id = f"{batch.id}-{line.number}"
            return await parts.deferred.record(asked, self._caller(batch), request_id)
        except AppError as error:
            return Refusal(error.code, error.message, error.param, UNKNOWN_STATUS)

    async def _stop(self, batch: Batch, end: State) -> None:
        """End what has not ended, and tell of what has."""
        await self._end_lines(batch)
        await self._finish(await self._load(), end)

    async def _end_lines(self, batch: Batch) -> None:
        states: tuple[JobState, ...] = ("queued", "running")
        for state in states:
            while jobs := await self._page(batch, state=state):
                own = self._caller(batch)
                await asyncio.gather(*(self._parts.jobs.cancel(job.id, own) for job in jobs))

    async def _finish(self, batch: Batch, end: State) -> None:
        """Write the answers, which are there before the batch has ended; then its jobs may go."""
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            writer = OutputWriter(
                output,
                errors,
                path_of=self._parts.jobs.artifact_path,
                error_answer=self._parts.error_answer,
                reason=end,
            )
            after: str | None = None
            while jobs := await self._page(batch, after=after):
                await asyncio.to_thread(writer.write, jobs)
                after = jobs[-1].id
            if batch.output_file_id is None:
                await self._keep(batch, output, "output")
            if batch.error_file_id is None:
                await self._keep(batch, errors, "error")
        await self._move(end, of=("in_progress", "cancelling", "finalizing"))
        while jobs := await self._page(batch):
            own = self._caller(batch)
            await asyncio.gather(*(self._parts.jobs.delete(job.id, own) for job in jobs))

    async def _keep(self, batch: Batch, file: BinaryIO, kind: str) -> None:
        if not await asyncio.to_thread(file.tell):
            return

        def note(connection: Any, upload: Upload) -> None:
            rows.change(connection, batch.id, **{f"{kind}_file_id": upload.id})

        await self._parts.uploads.create(
            file,
            filename=f"{batch.id}_{kind}.jsonl",
            purpose=OUTPUT_PURPOSE,
            caller=batch.caller,
            lifetime_s=batch.output_lifetime_s,
            may_refuse=False,
            also=note,
        )

    async def _page(
        self, batch: Batch, *, state: JobState | None = None, after: str | None = None
    ) -> list[Job]:
        wanted = JobQuery(group=batch.id, state=state, after=after, limit=CHUNK, order="asc")
        jobs, _ = await self._parts.jobs.page(self._caller(batch), wanted)
        return jobs

    async def _fail(self, *problems: Problem) -> Batch:
        errors = [asdict(problem) for problem in problems]
        return await self._move("failed", of=("validating",), errors=errors)

    async def _move(self, state: State, *, of: tuple[State, ...], **changes: Any) -> Batch:
        now = self._parts.clock()
        return await self._parts.database.write(
            lambda c: rows.move(c, self.batch_id, state, of=of, now=now, **changes)
        )

    async def _change(self, **changes: Any) -> None:
        await self._parts.database.write(lambda c: rows.change(c, self.batch_id, **changes))

    async def _load(self) -> Batch:
        return await self._parts.database.read(lambda c: rows.load(c, self.batch_id, None))

    def _caller(self, batch: Batch) -> Caller:
        return Caller(batch.caller, SCOPES, batch.allowance or UNLIMITED)


def _skip(lines: Iterator[Line], count: int) -> None:
    for _ in itertools.islice(lines, count):
        pass


def _taken(lines: Iterator[Line]) -> list[Line]:
    return list(itertools.islice(lines, CHUNK))
