"""`JobQueue`: the jobs that wait, in memory. The table says which there are, this says who is next.

By priority, then round robin over callers, as in front of the devices.
"""

from __future__ import annotations

from onebox.engines.fair_queue import FairQueue
from onebox.services.jobs.job import QueuedJob


class JobQueue:
    """Plain data, for the event loop."""

    def __init__(self) -> None:
        # A job that was taken out stays in its place until its turn comes: going through all of
        # them for each one that is cancelled would take seconds.
        self._places: FairQueue[_Place] = FairQueue()
        self._waiting: dict[str, _Place] = {}

    def put(self, job: QueuedJob) -> None:
        """At the end of its caller's. One that waits already keeps its place."""
        if job.id not in self._waiting:
            place = self._waiting[job.id] = _Place(job)
            self._places.put(place, caller=job.caller, priority=job.priority)

    def discard(self, job_id: str) -> None:
        self._waiting.pop(job_id, None)

    def head(self) -> QueuedJob | None:
        """The next one, which stays."""
        while (place := next(iter(self._places), None)) is not None:
            if self._waiting.get(place.job.id) is place:
                return place.job
            self._places.take([place])
        return None

    def pop(self) -> QueuedJob | None:
        """The next one, taken out."""
        job = self.head()
        if job is not None:
            self._places.take([self._waiting.pop(job.id)])
        return job

    def __len__(self) -> int:
        return len(self._waiting)


class _Place:
    """Equal to itself only: one job may have been here before."""

    __slots__ = ("job",)

    def __init__(self, job: QueuedJob) -> None:
        self.job = job
