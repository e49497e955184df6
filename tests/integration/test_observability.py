"""One request followed from its HTTP id to the worker's log, and to a collector of traces."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ROOT, running_server

PACKAGE = '''
"""Task `note`: says something in the log, or fails."""
import structlog
from pydantic import BaseModel
from onebox.core.contracts import Task
from onebox.core.plugins import TASKS
from onebox.core.results import Output

log = structlog.get_logger("noter")

class NoteInput(BaseModel):
    text: str

class Note(Task[NoteInput]):
    """Note."""
    name = "note"
    summary = "Note"
    Input = NoteInput
    families = frozenset({"dummy"})

    def run(self, bundle, request, context):
        log.info("noted", length=len(request.text))
        if request.text == "fail":
            raise RuntimeError("as asked")
        return [Output("bytes", b"done", {"media_type": "text/plain"})]

TASKS.register(Note.name, Note())
'''
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """What an OpenTelemetry collector would get, decoded."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.resources: list[Any] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.server.resources.append(resource.resource)
            for scope in resource.scope_spans:
                self.server.spans += scope.spans
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        yield collector
        collector.shutdown()


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Path:
    """The data folder of a server that was asked a few things, and has ended."""
    folder = tmp_path_factory.mktemp("observed")
    (folder / "note_plugin.py").write_text(PACKAGE)
    dummy_checkpoint(folder / "models" / "any")
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(folder)])
    settings = {
        "ONEBOX_PLUGINS": "tests.support.dummy_plugin,note_plugin",
        "PYTHONPATH": path,
        "ONEBOX_OTEL_ENDPOINT": collector.url,
        "ONEBOX_LOG_FORMAT": "human",
    }
    with (
        running_server(folder / "data", folder / "models", **settings) as server,
        server.client() as client,
    ):
        traced = {"X-Request-ID": "followed-1", "traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        for headers, text in ((traced, "good"), ({"X-Request-ID": "failing-1"}, "fail")):
            client.post("/v1/tasks/note", headers=headers, json={"text": text})
        job = client.post(
            "/v1/jobs",
            headers={"X-Request-ID": "later-1"},
            json={"task": "note", "input": {"text": "later"}},
        ).json()
        client.get(f"/v1/jobs/{job['id']}/events")
    return folder / "data"


def lines(asked: Path, name: str) -> list[dict[str, Any]]:
    path = asked / "logs" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_workers_log_names_the_request_that_it_works_for(asked: Path) -> None:
    noted = [line for line in lines(asked, "onebox-worker-0.log") if line["event"] == "noted"]
    assert [line["request_id"] for line in noted] == ["followed-1", "failing-1", "later-1"]
    assert noted[0]["trace_id"] == TRACE
    assert noted[2]["job"].startswith("job_")
    assert "job" not in noted[0]


def test_the_workers_error_names_it_too(asked: Path) -> None:
    (failed,) = [
        line for line in lines(asked, "onebox-worker-0.log") if line["event"] == "request_failed"
    ]
    assert failed["request_id"] == "failing-1"
    assert "as asked" in failed["exception"]


def test_the_gateways_log_is_json_in_its_file_and_has_what_was_asked(asked: Path) -> None:
    requests = [line for line in lines(asked, "onebox.log") if line["event"] == "request"]
    mine = {line["request_id"]: line for line in requests if "request_id" in line}
    assert (mine["followed-1"]["status"], mine["followed-1"]["trace_id"]) == (200, TRACE)
    assert mine["failing-1"]["status"] == 500


def test_a_collector_gets_the_whole_request(asked: Path, collector: Collector) -> None:
    spans = {span.name: span for span in collector.spans if span.trace_id.hex() == TRACE}
    assert set(spans) == {"POST /v1/tasks/note", "note any", "queue", "load", "run", "encode"}
    assert spans["POST /v1/tasks/note"].parent_span_id.hex() == "b7ad6b7169203331"
    assert spans["note any"].parent_span_id == spans["POST /v1/tasks/note"].span_id
    whole = spans["note any"]
    for name in ("queue", "load", "run", "encode"):
        assert spans[name].parent_span_id == whole.span_id
        assert whole.start_time_unix_nano <= spans[name].start_time_unix_nano
        assert spans[name].end_time_unix_nano <= whole.end_time_unix_nano
    service = {it.key: it.value.string_value for it in collector.resources[0].attributes}
    assert service["service.name"] == "onebox"


def test_a_collector_sees_what_failed_and_what_a_job_came_of(
    asked: Path, collector: Collector
) -> None:
    models = [span for span in collector.spans if span.name == "note any"]
    good, failing, later = sorted(models, key=lambda span: span.start_time_unix_nano)
    assert (good.status.code, failing.status.code) == (0, 2)
    values = {it.key: it.value.string_value for it in failing.attributes}
    assert values["error.type"] == "inference_failed"
    (link,) = later.links
    submitted = [span for span in collector.spans if span.name == "POST /v1/jobs"]
    assert [span.trace_id for span in submitted] == [link.trace_id]
