"""How spans leave the gateway: in batches, by a thread of their own, and quietly."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import Any

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from onebox import __version__

log = structlog.get_logger(__name__)

# These tell of each failure, several times a minute, and with tracebacks.
CHATTY = ("opentelemetry", "urllib3.connectionpool")


def create_provider(exporter: SpanExporter, service_name: str = "onebox") -> TracerProvider:
    """A provider of its own, not the process's. What the standard `OTEL_…` variables say (sampler,
    service name, batch sizes, limits) is followed.
    """
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    attributes = {"service.version": __version__}
    if "OTEL_SERVICE_NAME" not in os.environ:
        attributes["service.name"] = service_name
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(QuietExporter(exporter)))
    return provider


def otlp_exporter(url: str) -> SpanExporter:
    """Sends to that address, and nowhere else: no proxies or logins from the environment."""
    session = requests.Session()
    session.trust_env = False
    return OTLPSpanExporter(endpoint=url, session=session)


class QuietExporter(SpanExporter):
    """Says once that spans cannot be sent, and once that they can be again."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        try:
            result = self._exporter.export(spans)
        except Exception as error:
            self._failed(spans, type(error).__name__)
            return SpanExportResult.FAILURE
        if result is not SpanExportResult.SUCCESS:
            self._failed(spans, "the collector does not take them")
        elif self._lost:
            log.info("traces_sent_again", lost=self._lost)
            self._lost = 0
        return result

    def _failed(self, spans: Sequence[Any], reason: str) -> None:
        if not self._lost:
            log.warning("traces_not_sent", reason=reason, setting="ONEBOX_OTEL_ENDPOINT")
        self._lost += len(spans)

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
