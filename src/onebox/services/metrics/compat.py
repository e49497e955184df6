"""Metrics under the names that the familiar routes come with."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from onebox.core.results import Timing
from onebox.runtime.worker_client import WorkerClient
from onebox.services.catalogue import Catalogue
from onebox.services.metrics.inference import CONFIDENCE_BUCKETS, InferenceMetrics
from onebox.services.metrics.page import Page, Samples

TASK = "background"
NO_LABELS: tuple[str, ...] = ()


class CompatMetrics:
    """None, until somebody wants some."""

    def __init__(self, page: Page) -> None:
        self._page = page

    def add_backgrounds(
        self,
        inference: InferenceMetrics,
        catalogue: Catalogue,
        clients: Callable[[], Iterable[WorkerClient]],
    ) -> None:
        """Tell of backgrounds under the names of the family `photo` too, from now on."""

        def loaded() -> Samples:
            able = {entry.name for entry in catalogue.entries() if TASK in entry.tasks}
            yield NO_LABELS, float(not able.isdisjoint(_loaded(clients())))

        inference.follow(TASK, _Backgrounds(self._page))
        self._page.read_gauge(
            "ai_bg_model_loaded",
            "1 while a model that draws backgrounds is in memory.",
            NO_LABELS,
            loaded,
        )


class _Backgrounds:
    def __init__(self, page: Page) -> None:
        self._predictions = page.counter(
            "ai_bg_predictions_total", "Requests for backgrounds that ended.", ("status",)
        )
        self._durations = page.histogram(
            "ai_bg_inference_duration_seconds", "Time on the device for a background."
        )
        self._confidence = page.histogram(
            "ai_bg_prediction_confidence",
            "How sure a model was of the product that it cut out.",
            buckets=CONFIDENCE_BUCKETS,
        )
        self._load_time = page.gauge(
            "ai_bg_model_load_time_seconds",
            "What the latest load of a model for a background took.",
        )

    def ended(self, status: str) -> None:
        self._predictions.of(status).inc()

    def ran(self, timing: Timing) -> None:
        self._durations.of().observe(timing.run_s)
        if timing.load_s:
            self._load_time.of().set(timing.load_s)

    def was_sure(self, value: float) -> None:
        self._confidence.of().observe(value)


def _loaded(clients: Iterable[WorkerClient]) -> set[str]:
    """Names of the models in memory."""
    told = [client.last_stats for client in clients if client.last_stats is not None]
    return {each.name for stats in told for each in stats.bundles if each.state == "ready"}
