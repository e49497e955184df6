"""Which HTTP requests have a span, and what it does not tell."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from onebox.api.tracing import Traces
from onebox.services.in_process import CALLER
from onebox.services.tracing.tracing import Tracing


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


def ask(app, path="/v1/models", **further):
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "query_string": b"",
        "headers": [],
        "client": ("10.0.0.7", 1234),
        **further,
    }

    async def unused(*_):
        return None

    asyncio.run(app(scope, unused, unused))


async def answers(scope, receive, send):
    scope["route"] = type("Found", (), {"path_format": "/v1/models"})
    await send({"type": "http.response.start", "status": 200})


def test_a_request_has_a_span_that_is_named_by_its_route(tracing, exporter):
    ask(Traces(answers, tracing))
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("GET /v1/models", SpanKind.SERVER)
    assert span.attributes["client.address"] == "10.0.0.7"


@pytest.mark.parametrize("path", ["/health", "/ready", "/metrics"])
def test_probes_have_none(tracing, exporter, path):
    ask(Traces(answers, tracing), path)
    assert exporter.get_finished_spans() == ()


def test_a_query_and_credentials_are_not_told(tracing, exporter):
    headers = [(b"authorization", b"Bearer secret-1"), (b"tracestate", b"a=b")]
    ask(Traces(answers, tracing), query_string=b"signature=secret-2", headers=headers)
    (span,) = exporter.get_finished_spans()
    assert "secret" not in span.to_json()


def test_what_the_server_sends_to_itself_is_told_apart(tracing, exporter):
    ask(Traces(answers, tracing), **{CALLER: object(), "client": None})
    (span,) = exporter.get_finished_spans()
    assert (span.name, span.kind) == ("JOB /v1/models", SpanKind.INTERNAL)


def test_a_client_that_leaves_and_a_path_that_is_none_end_their_spans(tracing, exporter):
    async def leaves(scope, receive, send):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        ask(Traces(leaves, tracing))
    (span,) = exporter.get_finished_spans()
    assert span.name == "GET unmatched"
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "cancelled"


def test_a_web_socket_is_a_request(tracing, exporter):
    async def accepts(scope, receive, send):
        await send({"type": "websocket.accept"})

    ask(Traces(accepts, tracing), type="websocket", scheme="ws")
    (span,) = exporter.get_finished_spans()
    assert span.attributes["http.response.status_code"] == 101
