"""Metrics of models that run on other servers, and of those that take over from others."""

from __future__ import annotations

from typing import Literal

from onebox.services.metrics.page import Page


class UpstreamMetrics:
    def __init__(self, page: Page) -> None:
        self._requests = page.counter(
            "onebox_upstream_requests_total",
            "Requests to other servers that ended.",
            ("upstream", "status"),
        )
        self._retries = page.counter(
            "onebox_upstream_retries_total",
            "Further tries of requests to other servers.",
            ("upstream",),
        )
        self._open = page.gauge(
            "onebox_upstream_left_alone",
            "1 while a server that keeps failing is not asked.",
            ("upstream",),
        )
        self._fallbacks = page.counter(
            "onebox_fallbacks_total",
            "Requests that another model took over.",
            ("model", "fallback", "reason"),
        )

    def ended(self, upstream: str, status: str) -> None:
        """A request to it ended; `status` is "ok" or an error code."""
        self._requests.of(upstream, status).inc()

    def retried(self, upstream: str) -> None:
        self._retries.of(upstream).inc()

    def breaker(self, upstream: str, state: Literal["closed", "open", "half_open"]) -> None:
        self._open.of(upstream).set(state == "open")

    def fell_back(self, model: str, fallback: str, reason: str) -> None:
        """`reason` is the code of the error that the model would have answered with."""
        self._fallbacks.of(model, fallback, reason).inc()
