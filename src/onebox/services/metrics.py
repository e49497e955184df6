"""Prometheus metrics, in a registry of their own so that two servers can live in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from onebox.core.results import Timing
from onebox.runtime.wire import WorkerStats
from onebox.runtime.worker_client import WorkerClient

T = TypeVar("T", Counter, Gauge, Histogram)

ROUTE_LABELS = ("route", "method", "status")
WORKER_LABELS = ("device", "worker")
JOB_BUCKETS = (0.1, 1, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
CONFIDENCE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1)


class Metrics:
    """Every metric of the gateway.

    `clients` gives the workers whose state is read at each scrape.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, clients: Callable[[], Iterable[WorkerClient]]) -> None:
        self._registry = CollectorRegistry()
        self._children: dict[tuple[Any, ...], Any] = {}
        self._requests = Counter(
            "http_requests_total", "HTTP requests answered.", ROUTE_LABELS, registry=self._registry
        )
        self._durations = Histogram(
            "http_request_duration_seconds",
            "Time to the last byte.",
            ROUTE_LABELS,
            buckets=HTTP_BUCKETS,
            registry=self._registry,
        )
        self._active = Gauge(
            "http_requests_active",
            "HTTP requests being served.",
            ("route", "method"),
            registry=self._registry,
        )
        self._predictions = Counter(
            "onebox_predictions_total",
            "Requests to models that ended.",
            ("task", "model", "status"),
            registry=self._registry,
        )
        self._inference = Histogram(
            "onebox_inference_duration_seconds",
            "Time on the device.",
            ("task", "model"),
            buckets=HTTP_BUCKETS,
            registry=self._registry,
        )
        self._loads = Histogram(
            "onebox_model_load_seconds",
            "Time to load a model.",
            ("model",),
            buckets=HTTP_BUCKETS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "onebox_tokens_total",
            "Tokens of prompts, those of them that were known already, and tokens written.",
            ("model", "kind"),
            registry=self._registry,
        )
        self._first_tokens = Histogram(
            "onebox_time_to_first_token_seconds",
            "From a streamed request's arrival to its first text.",
            ("model",),
            buckets=HTTP_BUCKETS,
            registry=self._registry,
        )
        self._confidence = Histogram(
            "onebox_prediction_confidence",
            "How sure a model was of its result, where it tells.",
            ("task", "model"),
            buckets=CONFIDENCE_BUCKETS,
            registry=self._registry,
        )
        self._jobs = Counter(
            "onebox_jobs_ended_total",
            "Jobs that ended.",
            ("task", "state"),
            registry=self._registry,
        )
        self._webhooks = Counter(
            "onebox_webhooks_total",
            "Attempts to send a webhook, by what came of it.",
            ("state",),
            registry=self._registry,
        )
        self._job_durations = Histogram(
            "onebox_job_duration_seconds",
            "Time of the attempt that ended a job.",
            ("task",),
            buckets=JOB_BUCKETS,
            registry=self._registry,
        )
        self._registry.register(_WorkerCollector(clients))

    def entered(self, route: str, method: str) -> None:
        """A request came to a route."""
        self._child(self._active, route, method).inc()

    def left(self, route: str, method: str) -> None:
        """It is not being served any more."""
        self._child(self._active, route, method).dec()

    def answered(self, route: str, method: str, status: str, elapsed_s: float) -> None:
        self._child(self._requests, route, method, status).inc()
        self._child(self._durations, route, method, status).observe(elapsed_s)

    def prediction(self, task: str, model: str, status: str) -> None:
        """A request to a model ended; `status` is "ok", "cancelled" or an error code."""
        self._child(self._predictions, task, model, status).inc()

    def timing(self, task: str, model: str, timing: Timing) -> None:
        self._child(self._inference, task, model).observe(timing.run_s)
        if timing.load_s:
            self._child(self._loads, model).observe(timing.load_s)

    def confidence(self, task: str, model: str, value: float) -> None:
        """How sure the model was of a result, from 0 to 1."""
        self._child(self._confidence, task, model).observe(value)

    def tokens(self, model: str, counts: Mapping[str, int]) -> None:
        """What a text took: numbers by kind."""
        for kind, count in counts.items():
            self._child(self._tokens, model, kind).inc(count)

    def first_token(self, model: str, elapsed_s: float) -> None:
        self._child(self._first_tokens, model).observe(elapsed_s)

    def count_jobs(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Where to ask at each scrape how many jobs wait and how many run, by state."""
        self._registry.register(_JobCollector(counts))

    def webhook_sent(self, state: str) -> None:
        """An attempt was made; "pending": there will be another."""
        self._child(self._webhooks, state).inc()

    def job_ended(self, task: str, state: str, elapsed_s: float) -> None:
        """A job completed, failed or was cancelled after an attempt of so long."""
        self._child(self._jobs, task, state).inc()
        self._child(self._job_durations, task).observe(elapsed_s)

    def _child(self, metric: T, *labels: str) -> T:
        """The metric of these labels; prometheus_client's own look-up costs ten times this."""
        child = self._children.get((metric, *labels))
        if child is None:
            child = self._children[(metric, *labels)] = metric.labels(*labels)
        return cast(T, child)

    def render(self) -> bytes:
        """The page a scraper reads."""
        return generate_latest(self._registry)


class _WorkerCollector(Collector):
    """What the workers told in their last heartbeat."""

    def __init__(self, clients: Callable[[], Iterable[WorkerClient]]) -> None:
        self._clients = clients

    def collect(self) -> Iterator[Metric]:
        loaded = GaugeMetricFamily(
            "onebox_model_loaded",
            "1 for each model in memory.",
            labels=("model", "device", "worker"),
        )
        depth = GaugeMetricFamily("onebox_queue_depth", "Requests that wait.", labels=WORKER_LABELS)
        memory = GaugeMetricFamily(
            "onebox_device_memory_bytes",
            "Memory: used, free, budget, models, work, leaked.",
            labels=(*WORKER_LABELS, "kind"),
        )
        returned = CounterMetricFamily(
            "onebox_memory_returned_bytes",
            "What unloaded models gave back, as measured.",
            labels=WORKER_LABELS,
        )
        starts = CounterMetricFamily(
            "onebox_worker_starts", "How often the worker came up.", labels=WORKER_LABELS
        )
        for client in self._clients():
            if client.hello is None:
                continue
            worker = (client.hello.device.id, str(client.index))
            starts.add_metric(worker, client.lives)
            if (stats := client.last_stats) is None:
                continue
            # For a moment two states of one checkpoint may be loaded under one name.
            for name in sorted({b.name for b in stats.bundles if b.state == "ready"}):
                loaded.add_metric((name, *worker), 1)
            depth.add_metric(worker, stats.waiting)
            for kind, amount in _memory(stats):
                memory.add_metric((*worker, kind), amount)
            returned.add_metric(worker, stats.returned_bytes)
        yield from (loaded, depth, memory, returned, starts)


class _JobCollector(Collector):
    """What has not ended."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily("onebox_jobs", "Jobs that wait or run.", labels=("state",))
        for state, number in self._counts().items():
            jobs.add_metric((state,), number)
        yield jobs


def _memory(stats: WorkerStats) -> Iterator[tuple[str, int]]:
    yield "used", stats.device_used_bytes
    yield "free", stats.device_free_bytes
    yield "budget", stats.budget_bytes
    yield "models", sum(bundle.size_bytes for bundle in stats.bundles)
    yield "work", sum(bundle.reserved_bytes for bundle in stats.bundles)
    yield "leaked", stats.leaked_bytes
