"""Metrics of jobs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onebox.services.metrics.page import Page, Samples

DURATION_BUCKETS = (0.1, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)


class JobMetrics:
    def __init__(self, page: Page) -> None:
        self._counts: Callable[[], Mapping[str, int]] = dict
        page.read_gauge("onebox_jobs", "Jobs that wait or run.", ("state",), self._not_ended)
        self._ended = page.counter("onebox_jobs_ended_total", "Jobs that ended.", ("task", "state"))
        self._durations = page.histogram(
            "onebox_job_duration_seconds",
            "Time of the attempt that ended a job.",
            ("task",),
            DURATION_BUCKETS,
        )

    def count(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Where to ask at each scrape how many jobs wait and how many run, by state."""
        self._counts = counts

    def ended(self, task: str, state: str, elapsed_s: float) -> None:
        """A job completed, failed or was cancelled after an attempt of so long."""
        self._ended.of(task, state).inc()
        self._durations.of(task).observe(elapsed_s)

    def _not_ended(self) -> Samples:
        return (((state,), number) for state, number in self._counts().items())
