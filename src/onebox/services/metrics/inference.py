"""Metrics of requests to models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from onebox.core.results import Timing
from onebox.services.metrics.page import Page

CONFIDENCE_BUCKETS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99, 1)


class TaskFollower(Protocol):
    """Told too what becomes of the requests to one task."""

    def ended(self, status: str) -> None: ...

    def ran(self, timing: Timing) -> None: ...

    def was_sure(self, value: float) -> None:
        """From 0 to 1; also where the task only passes it on."""


class InferenceMetrics:
    def __init__(self, page: Page) -> None:
        self._followers: dict[str, TaskFollower] = {}
        self._predictions = page.counter(
            "onebox_predictions_total",
            "Requests to models that ended.",
            ("task", "model", "status"),
        )
        self._inference = page.histogram(
            "onebox_inference_duration_seconds", "Time on the device.", ("task", "model")
        )
        self._loads = page.histogram(
            "onebox_model_load_seconds", "Time to load a model.", ("model",)
        )
        self._tokens = page.counter(
            "onebox_tokens_total",
            "Tokens of prompts, those of them that were known already, and tokens written.",
            ("model", "kind"),
        )
        self._first_tokens = page.histogram(
            "onebox_time_to_first_token_seconds",
            "From a streamed request's arrival to its first text.",
            ("model",),
        )
        self._confidence = page.histogram(
            "onebox_prediction_confidence",
            "How sure a model was of its result, where it tells.",
            ("task", "model"),
            CONFIDENCE_BUCKETS,
        )

    def follow(self, task: str, follower: TaskFollower) -> None:
        self._followers[task] = follower

    def prediction(self, task: str, model: str, status: str) -> None:
        """A request to a model ended; `status` is "ok", "cancelled" or an error code."""
        self._predictions.of(task, model, status).inc()
        if (follower := self._followers.get(task)) is not None:
            follower.ended(status)

    def timing(self, task: str, model: str, timing: Timing) -> None:
        self._inference.of(task, model).observe(timing.run_s)
        if timing.load_s:
            self._loads.of(model).observe(timing.load_s)
        if (follower := self._followers.get(task)) is not None:
            follower.ran(timing)

    def confidence(self, task: str, model: str, value: float, *, is_own: bool = True) -> None:
        """How sure the model was of a result, from 0 to 1.

        `is_own`: not only passed on from another task, which has told it before.
        """
        if is_own:
            self._confidence.of(task, model).observe(value)
        if (follower := self._followers.get(task)) is not None:
            follower.was_sure(value)

    def tokens(self, model: str, counts: Mapping[str, int]) -> None:
        """What a text took: numbers by kind."""
        for kind, count in counts.items():
            self._tokens.of(model, kind).inc(count)

    def first_token(self, model: str, elapsed_s: float) -> None:
        self._first_tokens.of(model).observe(elapsed_s)
