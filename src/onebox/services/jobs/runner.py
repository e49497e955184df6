"""`Runner`: which job is carried out when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from onebox.core.errors import AppError
from onebox.services.jobs.attempts import Again, Attempts
from onebox.services.jobs.events import Updates
from onebox.services.jobs.job import QueuedJob
from onebox.services.jobs.live import Live
from onebox.services.jobs.queue import JobQueue

log = structlog.get_logger(__name__)

RETRY_S = 5.0
# A worker that does not end a request is overdue sooner than this.
STOP_S = 5.0


@dataclass(frozen=True, slots=True, eq=False)
class _Running:
    task: asyncio.Task[None]
    live: Live
    alone: bool


class Runner:
    """Takes jobs from the queue and runs them, as many at a time as allowed, while a worker is up.

    One that lost an attempt runs with no other beside it: if it is what ends the worker, it ends
    nobody else's attempt. Lives on the gateway's event loop.

    Args:
        concurrency: how many run at a time.
        wait_ready: until a worker is up; raises WorkerUnready.
        live: makes what an attempt tells, of what is to be called when it tells something.
        stop_s: how long an attempt has to end by itself when it is to stop.
    """

    def __init__(
        self,
        attempts: Attempts,
        updates: Updates,
        *,
        concurrency: int,
        wait_ready: Callable[[], Awaitable[None]],
        live: Callable[[Callable[[], None]], Live] = Live,
        stop_s: float = STOP_S,
    ) -> None:
        self._attempts = attempts
        self._updates = updates
        self._concurrency = concurrency
        self._wait_ready = wait_ready
        self._live = live
        self._stop_s = stop_s
        self._queue = JobQueue()
        self._running: dict[str, _Running] = {}
        self._later: dict[str, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._feeder: asyncio.Task[None] | None = None
        self._closed = False

    def start(self) -> None:
        """Begin with what was put, and go on with what will be."""
        self._feeder = asyncio.create_task(self._feed(), name="jobs")

    async def close(self) -> None:
        """Begin nothing more, and give back what runs: it begins anew at the next start."""
        self._closed = True
        tasks = [running.task for running in self._running.values()]
        if self._feeder is not None:
            tasks.append(self._feeder)
        for task in tasks:
            task.cancel()
        for timer in self._later.values():
            timer.cancel()
        self._later.clear()
        await asyncio.gather(*tasks, return_exceptions=True)

    def put(self, jobs: Iterable[QueuedJob]) -> None:
        """Jobs that are stored and wait. One that is known already keeps its place."""
        for job in jobs:
            if job.id not in self._running and job.id not in self._later:
                self._queue.put(job)
        self._wake.set()

    async def stop(self, job_id: str) -> None:
        """The job was ended: it does not wait any more, and its work has stopped on return."""
        self._queue.discard(job_id)
        timer = self._later.pop(job_id, None)
        if timer is not None:
            timer.cancel()
        running = self._running.get(job_id)
        if running is None:
            return
        running.live.cancel()
        _, left = await asyncio.wait({running.task}, timeout=self._stop_s)
        if left:
            running.task.cancel()
            await asyncio.wait(left)

    def live(self, job_id: str) -> Live | None:
        """What an attempt at the job does, while there is one."""
        running = self._running.get(job_id)
        return running.live if running else None

    def running(self) -> list[str]:
        """Jobs that an attempt is made at."""
        return list(self._running)

    def counts(self) -> Mapping[str, int]:
        """How many wait and how many run, by state."""
        return {"queued": len(self._queue) + len(self._later), "running": len(self._running)}

    async def _feed(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._may_begin():
                # Before the claim: an attempt that waits for a worker could only be lost.
                await self._worker()
                if self._may_begin():
                    self._begin()

    def _may_begin(self) -> bool:
        head = self._queue.head()
        if head is None or len(self._running) >= self._concurrency:
            return False
        if head.lost:
            return not self._running
        return not any(running.alone for running in self._running.values())

    async def _worker(self) -> None:
        """Until one is up."""
        while True:
            try:
                return await self._wait_ready()
            except AppError as error:
                await asyncio.sleep(error.retry_after_s or RETRY_S)

    def _begin(self) -> None:
        job = self._queue.pop()
        assert job is not None
        live = self._live(partial(self._updates.got_on, job.id))
        task = asyncio.create_task(self._run(job, live), name=job.id)
        self._running[job.id] = _Running(task, live, alone=bool(job.lost))

    async def _run(self, job: QueuedJob, live: Live) -> None:
        structlog.contextvars.bind_contextvars(job=job.id)
        again: Again | None = Again(job, RETRY_S)
        try:
            again = await self._attempts.make(job.id, live)
        except Exception as error:
            log.error("job_not_begun", exc_info=error)
        finally:
            del self._running[job.id]
            self._updates.state_changed(job.id)
            self._wake.set()
        if again is not None and not self._closed:
            loop = asyncio.get_running_loop()
            self._later[job.id] = loop.call_later(again.pause_s, self._put_again, again.job)

    def _put_again(self, job: QueuedJob) -> None:
        self._later.pop(job.id, None)
        self.put([job])
