"""`Neighbours`: other servers that share the database. Each has jobs of its own."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

import structlog

from onebox.services.jobs import sharing
from onebox.services.jobs.events import Updates
from onebox.services.jobs.runner import Runner
from onebox.services.jobs.store import JobStore
from onebox.services.loops import stop_loop

log = structlog.get_logger(__name__)

# How long what other servers did to our jobs stays unseen.
LOOK_EVERY_S = 2.0
MEASURE_EVERY_S = 600.0


class Neighbours:
    """Shows the others that this server lives, takes up the jobs of one that does not any more, and
    stops what another one has ended. Lives on the gateway's event loop.

    No clocks are compared: a server lives as long as its count goes up. What was not looked at for
    long, because the database was away or this server slept, says nothing of the others.

    Args:
        lost_s: how long it may stand still; 0: nothing is ever taken from anybody.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        owner: str,
        store: JobStore,
        runner: Runner,
        updates: Updates,
        *,
        lost_s: float,
        clock: Callable[[], float] = time.monotonic,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._owner = owner
        self._store = store
        self._runner = runner
        self._updates = updates
        self._lost_s = lost_s
        self._clock = clock
        self._look_every_s = look_every_s
        self._looked = self._measured = clock()
        # Of each other server its count, and since when it is that.
        self._seen: dict[str, tuple[int, float]] = {}
        self._stops: dict[str, asyncio.Task[None]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="job-neighbours")

    async def close(self) -> None:
        if self._task is not None:
            await stop_loop(self._task)
        for stop in list(self._stops.values()):
            await stop_loop(stop)

    async def look(self) -> None:
        """Once at all that others did since the last time."""
        beats = await self._store.write(lambda it: sharing.beat(it, self._owner))
        for owner in self._lost(beats):
            jobs = await self._store.take_over(owner, beats[owner])
            if jobs:
                log.warning("jobs_taken_over", server=owner, jobs=len(jobs))
            self._runner.put(jobs)
        await self._stop_ended()
        self._updates.look_again()
        if self._clock() >= self._measured + MEASURE_EVERY_S:
            self._measured = self._clock()
            await self._store.measure()

    def _lost(self, beats: dict[str, int]) -> list[str]:
        """Those whose count stood still for too long."""
        if not self._lost_s:
            return []
        now, before = self._clock(), self._seen
        if now - self._looked > self._lost_s / 2:
            # Nor do the others know of this one: ours may be theirs by now.
            before, self._measured = {}, -math.inf
        self._looked = now
        self._seen = {owner: (beat, now) for owner, beat in beats.items()}
        for owner, beat in beats.items():
            if owner in before and before[owner][0] == beat:
                self._seen[owner] = before[owner]
        return [owner for owner, (_, since) in self._seen.items() if now - since >= self._lost_s]

    async def _stop_ended(self) -> None:
        running = [job_id for job_id in self._runner.running() if job_id not in self._stops]
        if not running:
            return
        ended = await self._store.read(lambda it: sharing.not_ours(it, self._owner, running))
        for job_id in ended:
            # Not waited for: whoever stands still meanwhile is taken for dead.
            self._stops[job_id] = asyncio.create_task(self._stop(job_id), name=f"stop-{job_id}")

    async def _stop(self, job_id: str) -> None:
        try:
            await self._runner.stop(job_id)
            self._updates.state_changed(job_id)
        finally:
            del self._stops[job_id]

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as error:
                log.error("neighbours_not_seen", exc_info=error)
            await asyncio.sleep(self._look_every_s)
