"""Spans of requests to models and of HTTP requests, as an exporter gets them."""

from __future__ import annotations

import asyncio
import dataclasses
from itertools import pairwise

import msgspec
import pytest
import structlog

pytest.importorskip("opentelemetry.sdk", reason="needs the extra otel")

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from onebox.core.decoding import DecodeTask
from onebox.core.errors import AppError, QueueFull
from onebox.core.logs import Origin, work_for
from onebox.core.results import Artifact, Timing
from onebox.runtime.wire import Delta, Failed, Loading, Result, Started
from onebox.services.tracing.attributes import request_attributes, result_attributes
from onebox.services.tracing.tracing import Tracing, answered
from tests.unit.runtime.clients import run
from tests.unit.services.kitchen import MODEL, FakeTask, Kitchen, ended_with, sent, until

MS = 1_000_000
TEXT = {
    "choices": [{"index": 0, "finish_reason": "length", "content": "Hi"}],
    "usage": {"prompt_tokens": 30, "cached_tokens": 16, "completion_tokens": 4},
}


class Traced:
    """A kitchen whose spans are kept, on a clock that moves a second with each look."""

    def __init__(self, folder, **limits):
        self.now = 0
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracing = Tracing(provider, self._clock)
        self.kitchen = Kitchen(folder, self.tracing, **limits)

    def _clock(self):
        self.now += 1000 * MS
        return self.now

    def spans(self):
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def traced(tmp_path):
    return Traced(tmp_path)


def length_ms(span):
    return (span.end_time - span.start_time) / MS


def test_a_request_has_a_span_for_each_thing_that_took_time(traced):
    timing = Timing(queue_s=0.5, load_s=2.0, run_s=1.5, encode_s=0.25)
    run(ended_with(traced.kitchen, Started("wire-1"), Result("wire-1", timing=timing)))
    spans = traced.spans()
    whole = spans.pop(f"fake {MODEL.name}")
    assert whole.status.status_code is StatusCode.UNSET
    assert {name: length_ms(span) for name, span in spans.items()} == {
        "queue": 500,
        "load": 2000,
        "run": 1500,
        "encode": 250,
    }
    order = [spans[name] for name in ("queue", "load", "run", "encode")]
    for span, following in pairwise(order):
        assert span.end_time == following.start_time
    assert order[0].start_time >= whole.start_time
    for span in order:
        assert span.parent.span_id == whole.context.span_id


def test_a_model_that_was_there_has_no_span_for_its_load(traced):
    run(ended_with(traced.kitchen, Result("wire-1", timing=Timing(run_s=1.0))))
    assert set(traced.spans()) == {f"fake {MODEL.name}", "queue", "run", "encode"}


def test_a_failed_request_says_where_it_failed(traced):
    failed = Failed("wire-1", "inference_failed", "it failed")
    with pytest.raises(AppError):
        run(ended_with(traced.kitchen, Started("wire-1"), failed))
    spans = traced.spans()
    assert set(spans) == {f"fake {MODEL.name}", "queue", "run"}
    assert spans["queue"].status.status_code is StatusCode.UNSET
    for span in (spans["run"], spans[f"fake {MODEL.name}"]):
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes["error.type"] == "inference_failed"


def test_a_load_that_fails_is_what_failed(traced):
    loading, failed = Loading("wire-1", 0.5), Failed("wire-1", "insufficient_memory", "no")
    with pytest.raises(AppError):
        run(ended_with(traced.kitchen, loading, failed))
    assert traced.spans()["load"].attributes["error.type"] == "insufficient_memory"


def test_a_request_that_is_refused_never_waited(tmp_path):
    traced = Traced(tmp_path, max_waiting=0)
    with pytest.raises(QueueFull):
        run(ended_with(traced.kitchen, Result("wire-1")))
    (span,) = traced.exporter.get_finished_spans()
    assert span.attributes["error.type"] == "queue_full"


def test_a_request_whose_client_leaves_is_cancelled(traced):
    async def scene():
        kitchen = traced.kitchen
        (running,) = await sent(kitchen, kitchen.prepared())
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run(scene())
    spans = traced.spans()
    assert spans[f"fake {MODEL.name}"].attributes["error.type"] == "cancelled"
    assert spans["queue"].status.status_code is StatusCode.ERROR


def test_a_stream_says_when_its_first_text_came(traced):
    async def scene():
        kitchen = traced.kitchen
        stream = kitchen.inference.stream(kitchen.prepared())
        reading = asyncio.ensure_future(_all(stream))
        await until(kitchen.submits)
        kitchen.client.answer(Delta("wire-1", {}), Delta("wire-1", {}), Result("wire-1"))
        await reading

    run(scene())
    attributes = traced.spans()[f"fake {MODEL.name}"].attributes
    assert attributes["gen_ai.request.stream"] is True
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0


async def _all(stream):
    return [event async for event in stream]


def test_what_was_asked_and_answered_is_not_in_a_trace(traced):
    async def scene():
        kitchen = traced.kitchen
        (running,) = await sent(kitchen, kitchen.prepared(text="a secret prompt"))
        kitchen.client.answer(Result("wire-1", (Artifact("text/plain", b"a secret answer"),)))
        await running

    run(scene())
    assert "secret" not in "".join(span.to_json() for span in traced.spans().values())


class TestAttributes:
    def test_the_conventions_names_are_used(self, traced):
        class Input(FakeTask.Input):
            max_tokens: int = 64
            temperature: float = 0.5
            seed: int | None = None

        prepared = changed(traced.kitchen.prepared(), input=Input(), task=_task("completion"))
        assert request_attributes(prepared, streams=False) == {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": "onebox",
            "gen_ai.request.model": MODEL.name,
            "gen_ai.request.max_tokens": 64,
            "gen_ai.request.temperature": 0.5,
            "onebox.task": "completion",
            "onebox.priority": "job",
        }

    def test_a_text_says_its_tokens_and_why_it_ended(self, traced):
        prepared = changed(traced.kitchen.prepared(), task=_Writer())
        artifact = Artifact("application/json", msgspec.json.encode(TEXT))
        assert result_attributes(prepared, (artifact,)) == {
            "gen_ai.response.model": MODEL.name,
            "gen_ai.output.type": "text",
            "gen_ai.response.finish_reasons": ["length"],
            "gen_ai.usage.input_tokens": 30,
            "gen_ai.usage.output_tokens": 4,
            "gen_ai.usage.cache_read.input_tokens": 16,
            "gen_ai.usage.reasoning.output_tokens": 0,
        }

    @pytest.mark.parametrize(
        ("media_type", "kind"), [("image/png", "image"), ("audio/wav", "speech")]
    )
    def test_what_it_made_is_named(self, traced, media_type, kind):
        found = result_attributes(traced.kitchen.prepared(), (Artifact(media_type, b""),))
        assert found["gen_ai.output.type"] == kind


def changed(prepared, **changes):
    return dataclasses.replace(prepared, **changes)


def _task(name):
    task = FakeTask()
    task.name = name
    return task


class _Writer(FakeTask, DecodeTask):
    def open(self, *args):
        raise NotImplementedError

    def encode(self, *args):
        raise NotImplementedError


TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
GET = {"http.request.method": "GET"}


class TestHttp:
    def test_a_clients_trace_goes_on_and_the_log_names_it(self, traced):
        with traced.tracing.request(PARENT, in_process=False, attributes=GET) as span:
            bound = structlog.contextvars.get_contextvars()
            answered(span, "/v1/models/{model}", "GET", 200)
        assert bound["trace_id"] == TRACE
        (span,) = traced.exporter.get_finished_spans()
        assert span.name == "GET /v1/models/{model}"
        assert span.kind is SpanKind.SERVER
        assert span.parent.span_id == 0xB7AD6B7169203331
        assert span.attributes["http.response.status_code"] == 200
        assert "trace_id" not in structlog.contextvars.get_contextvars()

    @pytest.mark.parametrize(
        ("status", "error"), [(200, None), (404, None), (503, "503"), (0, "cancelled")]
    )
    def test_only_the_servers_own_failures_are_errors(self, traced, status, error):
        with traced.tracing.request({}, in_process=False, attributes=GET) as span:
            answered(span, "/", "GET", status)
        (span,) = traced.exporter.get_finished_spans()
        assert span.attributes.get("error.type") == error
        wanted = StatusCode.ERROR if error else StatusCode.UNSET
        assert span.status.status_code is wanted

    def test_what_a_request_asks_of_a_model_is_below_it(self, traced):
        async def scene():
            with traced.tracing.request({}, in_process=False, attributes=GET):
                await ended_with(traced.kitchen, Result("wire-1"))

        run(scene())
        spans = traced.spans()
        assert spans[f"fake {MODEL.name}"].parent.span_id == spans["GET"].context.span_id

    def test_a_job_has_a_trace_of_its_own_that_names_the_one_it_came_of(self, traced):
        async def scene():
            work_for(Origin("r1", None, TRACE, "b7ad6b7169203331"))
            structlog.contextvars.bind_contextvars(job="job-1")
            await ended_with(traced.kitchen, Result("wire-1"))

        run(scene())
        span = traced.spans()[f"fake {MODEL.name}"]
        (link,) = span.links
        assert link.context.trace_id == int(TRACE, 16)
        assert span.context.trace_id != link.context.trace_id
        assert (span.attributes["onebox.job"], span.attributes["onebox.request_id"]) == (
            "job-1",
            "r1",
        )
