"""Metrics of webhooks."""

from __future__ import annotations

from onebox.services.metrics.page import Page

STATES = ("pending", "delivered", "given_up")


class WebhookMetrics:
    def __init__(self, page: Page) -> None:
        self._sent = page.counter(
            "onebox_webhooks_total", "Attempts to send a webhook, by what came of it.", ("state",)
        )
        for state in STATES:
            # From 0 on: the first one of a series that was not there is no increase.
            self._sent.of(state)

    def sent(self, state: str) -> None:
        """An attempt was made; "pending": there will be another."""
        self._sent.of(state).inc()
