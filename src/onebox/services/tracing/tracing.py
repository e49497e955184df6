"""`Tracing`: begins the spans of HTTP requests and of requests to models."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from onebox import __version__
from onebox.core.errors import AppError
from onebox.core.logs import current_origin
from onebox.services.request import Prepared
from onebox.services.tracing.attributes import operation_of, request_attributes
from onebox.services.tracing.model_span import CANCELLED, ModelSpan

CLOSE_S = 3.0


class Tracing:
    """Lives on the gateway's event loop; what is done is sent by the provider's own thread.

    Args:
        clock: nanoseconds since 1970.
    """

    def __init__(self, provider: TracerProvider, clock: Callable[[], int] = time.time_ns) -> None:
        self._provider = provider
        self._clock = clock
        self._tracer = provider.get_tracer("onebox", __version__)
        self._propagator = TraceContextTextMapPropagator()

    @contextlib.contextmanager
    def request(
        self, headers: Mapping[str, str], *, in_process: bool, attributes: Mapping[str, str]
    ) -> Iterator[Span]:
        """The span of an HTTP request, current in the body, whose lines of log name its trace.

        Args:
            headers: by small names; a `traceparent` of the client's makes it part of that trace.
            in_process: the server's own, on behalf of a job.
        """
        span = self._tracer.start_span(
            attributes["http.request.method"],
            self._propagator.extract(headers),
            kind=SpanKind.INTERNAL if in_process else SpanKind.SERVER,
            attributes=dict(attributes),
            links=_links(),
            start_time=self._clock(),
        )
        named = _named(span)
        try:
            with (
                trace.use_span(span, record_exception=False, set_status_on_exception=False),
                structlog.contextvars.bound_contextvars(**named),
            ):
                yield span
        finally:
            span.end(self._clock())

    @contextlib.contextmanager
    def inference(self, prepared: Prepared, *, streams: bool) -> Iterator[ModelSpan]:
        """The span of a request to a model, from its placing at a worker to its end."""
        attributes = request_attributes(prepared, streams=streams)
        origin = current_origin()
        if origin.request_id is not None:
            attributes["onebox.request_id"] = origin.request_id
        if origin.job is not None:
            attributes["onebox.job"] = origin.job
        span = self._tracer.start_span(
            f"{operation_of(prepared)} {prepared.entry.name}",
            kind=SpanKind.INTERNAL,
            attributes=attributes,
            links=_links(),
            start_time=self._clock(),
        )
        followed = ModelSpan(self._tracer, span, prepared, self._clock)
        try:
            yield followed
        except AppError as error:
            followed.failed(error.code)
            raise
        except BaseException:
            # Who waited for it has left; or a bug, which the log tells of.
            followed.failed(CANCELLED)
            raise
        finally:
            followed.end()

    def close(self) -> None:
        """Send what is left, within a bound: the collector may never answer."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(CLOSE_S)


def answered(span: Span, route: str, method: str, status: int) -> None:
    """How an HTTP request ended; status 0: its client left before there was an answer."""
    span.update_name(f"{method} {route}")
    span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500 or not status:
        span.set_attribute("error.type", str(status) if status else CANCELLED)
        span.set_status(Status(StatusCode.ERROR))


def _named(span: Span) -> dict[str, str]:
    context = span.get_span_context()
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def _links() -> list[Link]:
    """To the request that a job came with: it has ended long ago, and its trace with it."""
    origin = current_origin()
    parent = trace.get_current_span().get_span_context()
    if parent.is_valid or origin.trace_id is None or origin.span_id is None:
        return []
    asked = SpanContext(
        int(origin.trace_id, 16),
        int(origin.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )
    return [Link(asked)]
