"""Metrics of the hooks into the operator's own backend."""

from __future__ import annotations

from onebox.services.metrics.page import Page
from onebox.services.outgoing.breaker import BreakerState

STATES: dict[BreakerState, int] = {"closed": 0, "half_open": 1, "open": 2}


class HookMetrics:
    def __init__(self, page: Page) -> None:
        self._requests = page.counter(
            "onebox_hook_requests_total",
            "Questions to the operator's backend, each with its retries, by what came of them.",
            ("hook", "outcome"),
        )
        self._seconds = page.histogram(
            "onebox_hook_seconds",
            "Seconds that questions to the operator's backend took, with their retries.",
            ("hook",),
        )
        self._circuit = page.gauge(
            "onebox_hook_circuit",
            "Circuit breaker of a hook: 0 closed, 1 half open, 2 open.",
            ("hook",),
        )

    def asked(self, hook: str, outcome: str, seconds: float) -> None:
        """A question has ended."""
        self._requests.of(hook, outcome).inc()
        self._seconds.of(hook).observe(seconds)

    def remembered(self, hook: str) -> None:
        """A question that was answered from memory."""
        self._requests.of(hook, "remembered").inc()

    def circuit(self, hook: str, state: BreakerState) -> None:
        self._circuit.of(hook).set(STATES[state])
