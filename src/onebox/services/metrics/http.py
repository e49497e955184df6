"""Metrics of HTTP requests, of every route."""

from __future__ import annotations

from onebox.services.metrics.page import Page

ROUTE_LABELS = ("route", "method", "status")


class HttpMetrics:
    def __init__(self, page: Page) -> None:
        self._requests = page.counter(
            "http_requests_total", "HTTP requests answered.", ROUTE_LABELS
        )
        self._durations = page.histogram(
            "http_request_duration_seconds", "Time to the last byte.", ROUTE_LABELS
        )
        self._active = page.gauge(
            "http_requests_active", "HTTP requests being served.", ("route", "method")
        )

    def entered(self, route: str, method: str) -> None:
        """A request came to a route."""
        self._active.of(route, method).inc()

    def left(self, route: str, method: str) -> None:
        """It is not being served any more."""
        self._active.of(route, method).dec()

    def answered(self, route: str, method: str, status: str, elapsed_s: float) -> None:
        self._requests.of(route, method, status).inc()
        self._durations.of(route, method, status).observe(elapsed_s)
