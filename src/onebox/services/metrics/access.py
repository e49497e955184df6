"""Metrics of who may use the server and how much: limits, hooks, usage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onebox.services.metrics.page import Page
from onebox.services.usage.usage import Usage


class AccessMetrics:
    def __init__(self, page: Page) -> None:
        self._limited = page.counter(
            "rate_limit_hits_total",
            "Requests that were refused by a limit on requests or tokens a minute.",
            ("route_class", "kind"),
        )
        self._limit_store_failures = page.counter(
            "onebox_rate_limit_store_failures_total",
            "Times that the Redis in which requests are counted gave no answer.",
        )

        self._page = page
        self._credits = page.counter(
            "onebox_credits_charged_total", "Credits that requests cost.", ("task", "model")
        )

    def used(self, group: Sequence[Usage]) -> None:
        """Usage that was written down."""
        for usage in group:
            if usage.amounts.credits:
                self._credits.of(usage.task, usage.model).inc(usage.amounts.credits)

    def read_ledger(self, waiting: Callable[[], int]) -> None:
        """Where to ask at each scrape for how many requests the usage is not written yet."""
        self._page.read_gauge(
            "onebox_usage_unwritten",
            "Requests whose usage is not in the database yet.",
            (),
            lambda: [((), waiting())],
        )

    def rate_limited(self, route_class: str, kind: str) -> None:
        """A request was refused; `kind`: "requests" or "tokens"."""
        self._limited.of(route_class, kind).inc()

    def limit_store_failed(self) -> None:
        self._limit_store_failures.of().inc()
