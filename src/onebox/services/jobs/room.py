"""How many jobs may wait, and how much all of them may take."""

from __future__ import annotations

from collections.abc import Iterable

from onebox.core.errors import QueueFull, StorageFull
from onebox.services.jobs.job import Job

RETRY_S = 30.0


class Room:
    """Counts what is stored. Lives on the gateway's event loop.

    Args:
        max_bytes: of rows and files of all jobs; what has been accepted is never dropped for it.
        max_queued: jobs that wait.
    """

    def __init__(self, *, max_bytes: int, max_queued: int) -> None:
        self._max_bytes = max_bytes
        self._max_queued = max_queued
        self.used_bytes = 0
        self.queued = 0

    def measured(self, queued: int, used_bytes: int) -> None:
        """What is stored by the table, whatever was counted before."""
        self.queued, self.used_bytes = queued, used_bytes

    def take(self, jobs: Iterable[Job]) -> None:
        """For new jobs, all or none. Raises QueueFull and StorageFull."""
        sizes = [job.size_bytes for job in jobs]
        if self.queued + len(sizes) > self._max_queued:
            raise QueueFull(
                f"{self.queued} jobs wait and {len(sizes)} more were sent, at most "
                f"{self._max_queued} may wait; try again later",
                details={"waiting": self.queued, "max": self._max_queued, "queue": "jobs"},
                retry_after_s=RETRY_S,
            )
        if self.used_bytes + sum(sizes) > self._max_bytes:
            raise StorageFull(
                f"jobs and their results take {self.used_bytes} bytes and this needs {sum(sizes)} "
                f"more, at most {self._max_bytes} may be taken; delete jobs that have ended, or "
                "raise ONEBOX_JOB_STORE",
                details={
                    "used_bytes": self.used_bytes,
                    "needed_bytes": sum(sizes),
                    "max_bytes": self._max_bytes,
                },
            )
        self.queued += len(sizes)
        self.used_bytes += sum(sizes)

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Of jobs that are no longer stored."""
        for job in jobs:
            self.queued -= job.state == "queued"
            self.used_bytes -= job.size_bytes

    def change(self, before: Job, after: Job) -> None:
        self.queued += (after.state == "queued") - (before.state == "queued")
        self.used_bytes += after.size_bytes - before.size_bytes
