"""Metrics of the workers: what each told in its last heartbeat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from onebox.runtime.wire import WorkerStats
from onebox.runtime.worker_client import WorkerClient
from onebox.services.metrics.page import Page, Samples

LABELS = ("device", "worker")


class WorkerMetrics:
    def __init__(self, page: Page, clients: Callable[[], Iterable[WorkerClient]]) -> None:
        self._clients = clients
        page.read_gauge(
            "onebox_model_loaded", "1 for each model in memory.", ("model", *LABELS), self._loaded
        )
        page.read_gauge("onebox_queue_depth", "Requests that wait.", LABELS, self._depth)
        page.read_gauge(
            "onebox_device_memory_bytes",
            "Memory: used, free, budget, models, work, leaked.",
            (*LABELS, "kind"),
            self._memory,
        )
        page.read_counter(
            "onebox_memory_returned_bytes_total",
            "What unloaded models gave back, as measured.",
            LABELS,
            self._returned,
        )
        page.read_counter(
            "onebox_worker_starts_total", "How often the worker came up.", LABELS, self._starts
        )

    def _starts(self) -> Samples:
        for client in self._clients():
            if client.hello is not None:
                yield _labels(client), client.lives

    def _loaded(self) -> Samples:
        for worker, stats in self._told():
            # For a moment two states of one checkpoint may be loaded under one name.
            for name in sorted({b.name for b in stats.bundles if b.state == "ready"}):
                yield (name, *worker), 1

    def _depth(self) -> Samples:
        return ((worker, stats.waiting) for worker, stats in self._told())

    def _memory(self) -> Samples:
        for worker, stats in self._told():
            for kind, amount in _memory(stats):
                yield (*worker, kind), amount

    def _returned(self) -> Samples:
        return ((worker, stats.returned_bytes) for worker, stats in self._told())

    def _told(self) -> Iterator[tuple[tuple[str, ...], WorkerStats]]:
        for client in self._clients():
            if client.hello is not None and client.last_stats is not None:
                yield _labels(client), client.last_stats


def _labels(client: WorkerClient) -> tuple[str, ...]:
    assert client.hello is not None
    return client.hello.device.id, str(client.index)


def _memory(stats: WorkerStats) -> Iterator[tuple[str, int]]:
    yield "used", stats.device_used_bytes
    yield "free", stats.device_free_bytes
    yield "budget", stats.budget_bytes
    yield "models", sum(bundle.size_bytes for bundle in stats.bundles)
    yield "work", sum(bundle.reserved_bytes for bundle in stats.bundles)
    yield "leaked", stats.leaked_bytes
