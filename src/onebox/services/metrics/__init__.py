"""Prometheus metrics: `Metrics` holds those of every area of the gateway.

A metric belongs to the file of its area and is declared through `Page`, once, with its labels;
docs/metrics.md has a row for each, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from onebox.runtime.worker_client import WorkerClient
from onebox.services.metrics.access import AccessMetrics
from onebox.services.metrics.compat import CompatMetrics
from onebox.services.metrics.hooks import HookMetrics
from onebox.services.metrics.http import HttpMetrics
from onebox.services.metrics.inference import InferenceMetrics
from onebox.services.metrics.jobs import JobMetrics
from onebox.services.metrics.page import Page
from onebox.services.metrics.server import ServerMetrics
from onebox.services.metrics.upstreams import UpstreamMetrics
from onebox.services.metrics.webhooks import WebhookMetrics
from onebox.services.metrics.workers import WorkerMetrics


class Metrics:
    """Every metric of the gateway.

    `clients` gives the workers whose state is read at each scrape.
    """

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, clients: Callable[[], Iterable[WorkerClient]]) -> None:
        self.page = Page()
        self.server = ServerMetrics(self.page)
        self.http = HttpMetrics(self.page)
        self.inference = InferenceMetrics(self.page)
        self.jobs = JobMetrics(self.page)
        self.webhooks = WebhookMetrics(self.page)
        self.access = AccessMetrics(self.page)
        self.hooks = HookMetrics(self.page)
        self.upstreams = UpstreamMetrics(self.page)
        self.compat = CompatMetrics(self.page)
        self.workers = WorkerMetrics(self.page, clients)

    def render(self) -> bytes:
        """The page a scraper reads."""
        return self.page.render()
