"""`ModelSpan`: one request to a model, with a span for each thing that it spent time on."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from onebox.core.results import Timing
from onebox.runtime.wire import Delta, Event, Failed, Loading, Result, Started
from onebox.services.request import Prepared
from onebox.services.tracing.attributes import result_attributes

CANCELLED = "cancelled"
S = 1_000_000_000


class ModelSpan:
    """Below the request's span: `queue`, `load` where there was one, `run` and `encode`.

    Of a request that ended well they are as long as the worker measured; of one that failed, as the
    gateway saw them begin.
    """

    def __init__(
        self, tracer: Tracer, span: Span, prepared: Prepared, clock: Callable[[], int]
    ) -> None:
        self._tracer = tracer
        self._span = span
        self._prepared = prepared
        self._clock = clock
        self._began = clock()
        self._submitted: int | None = None
        # Where it is now, since when, and what it has left behind; for one that fails.
        self._phase = "queue"
        self._since = self._began
        self._past: list[tuple[str, int, int]] = []
        self._result: Result | None = None
        self._error: str | None = None
        self._has_text = False

    def following(self, observe: Callable[[Event], None]) -> Callable[[Event], None]:
        """What is to be called with the request's events, from now on, in place of `observe`."""
        self._submitted = self._since = self._clock()

        def both(event: Event) -> None:
            self._observe(event)
            observe(event)

        return both

    def failed(self, code: str) -> None:
        """It ended without a result, in an error of this code."""
        if self._result is None and self._error is None:
            self._error = code

    def end(self) -> None:
        now = self._clock()
        if self._result is not None:
            self._span.set_attributes(result_attributes(self._prepared, self._result.artifacts))
            self._tell_timing(self._result.timing)
        else:
            error = self._error or CANCELLED
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR, error))
            self._tell_past(now, error)
        self._span.end(now)

    def _observe(self, event: Event) -> None:
        match event:
            case Delta():
                self._first_text()
            case Loading(fraction=fraction):
                self._go_on("load" if fraction < 1 else "queue")
            case Started():
                self._go_on("run")
            case Result():
                self._result = event
            case Failed(code=code):
                self._error = code

    def _first_text(self) -> None:
        if not self._has_text:
            self._has_text = True
            elapsed_s = (self._clock() - self._began) / S
            self._span.set_attribute("gen_ai.response.time_to_first_chunk", elapsed_s)

    def _go_on(self, phase: str) -> None:
        if phase == self._phase:
            return
        now = self._clock()
        self._past.append((self._phase, self._since, now))
        self._phase, self._since = phase, now

    def _tell_timing(self, timing: Timing) -> None:
        """One after the other: a load in the middle of the wait is shown after it."""
        assert self._submitted is not None
        start = self._submitted
        for name, length_s in (
            ("queue", timing.queue_s),
            ("load", timing.load_s),
            ("run", timing.run_s),
            ("encode", timing.encode_s),
        ):
            if name == "load" and not length_s:
                continue
            end = start + round(length_s * S)
            self._child(name, start, end)
            start = end

    def _tell_past(self, now: int, error: str) -> None:
        if self._submitted is None:
            return  # It was refused before it waited.
        for name, start, end in self._past:
            self._child(name, start, end)
        self._child(self._phase, self._since, now, error)

    def _child(self, name: str, start: int, end: int, error: str | None = None) -> None:
        child = self._tracer.start_span(
            name, trace.set_span_in_context(self._span), start_time=start
        )
        if error is not None:
            child.set_attribute("error.type", error)
            child.set_status(Status(StatusCode.ERROR, error))
        child.end(end)
