"""Prometheus metrics, in a registry of their own so that two servers can live in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from onebox.core.results import Timing
from onebox.runtime.worker_client import WorkerClient

ROUTE_LABELS = ("route", "method", "status")
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """Every metric of the gateway.

    `clients` gives the workers whose state is read at each scrape.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, clients: Callable[[], Iterable[WorkerClient]]) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total", "HTTP requests answered.", ROUTE_LABELS, registry=self._registry
        )
        self.durations = Histogram(
            "http_request_duration_seconds",
            "Time to the last byte.",
            ROUTE_LABELS,
            buckets=HTTP_BUCKETS,
            registry=self._registry,
        )
        self.active = Gauge(
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
        self._registry.register(_WorkerCollector(clients))

    def prediction(self, task: str, model: str, status: str) -> None:
        """A request to a model ended; `status` is "ok", "cancelled" or an error code."""
        self._predictions.labels(task, model, status).inc()

    def timing(self, task: str, model: str, timing: Timing) -> None:
        self._inference.labels(task, model).observe(timing.run_s)
        if timing.load_s:
            self._loads.labels(model).observe(timing.load_s)

    def render(self) -> bytes:
        """The page a scraper reads."""
        return generate_latest(self._registry)


class _WorkerCollector(Collector):
    """What the workers told in their last heartbeat."""

    def __init__(self, clients: Callable[[], Iterable[WorkerClient]]) -> None:
        self._clients = clients

    def collect(self) -> Iterator[Metric]:
        loaded = GaugeMetricFamily(
            "onebox_model_loaded", "1 for each model in memory.", labels=("model", "device")
        )
        depth = GaugeMetricFamily("onebox_queue_depth", "Requests that wait.", labels=("device",))
        memory = GaugeMetricFamily(
            "onebox_device_memory_bytes",
            "Device memory: used, free, budget, models.",
            labels=("device", "kind"),
        )
        for client in self._clients():
            if client.hello is None or client.last_stats is None:
                continue
            device, stats = client.hello.device.id, client.last_stats
            # For a moment two states of one checkpoint may be loaded under one name.
            for name in sorted({bundle.name for bundle in stats.bundles}):
                loaded.add_metric((name, device), 1)
            depth.add_metric((device,), stats.waiting)
            memory.add_metric((device, "used"), stats.device_used_bytes)
            memory.add_metric((device, "free"), stats.device_free_bytes)
            memory.add_metric((device, "budget"), stats.budget_bytes)
            memory.add_metric((device, "models"), sum(b.size_bytes for b in stats.bundles))
        yield from (loaded, depth, memory)
