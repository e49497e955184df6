"""Whether there are traces, and a collector that is gone."""

from __future__ import annotations

import builtins
import sys

import pytest
from structlog.testing import capture_logs

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="needs the extra otel")

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from onebox.core.errors import ConfigurationError
from onebox.core.settings import Settings
from onebox.services.tracing.creation import create_tracing
from onebox.services.tracing.export import QuietExporter

OK, FAILED = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


class Flapping(SpanExporter):
    def __init__(self, results):
        self.results = list(results)

    def export(self, spans):
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        return result

    def shutdown(self):
        return


def test_a_collector_that_is_gone_is_told_of_once_and_once_when_it_is_back():
    results = [OK, FAILED, ConnectionError("gone"), FAILED, OK, OK, FAILED]
    exporter = QuietExporter(Flapping(results))
    with capture_logs() as logs:
        given = [exporter.export([None, None]) for _ in results]
    assert given == [OK, FAILED, FAILED, FAILED, OK, OK, FAILED]
    assert [line["event"] for line in logs] == [
        "traces_not_sent",
        "traces_sent_again",
        "traces_not_sent",
    ]
    assert logs[1]["lost"] == 6


def test_without_the_setting_nothing_of_it_is_loaded(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("onebox.services.tracing.")]:
        if not name.endswith(".creation"):
            monkeypatch.delitem(sys.modules, name)
    assert create_tracing(Settings(root=tmp_path)) is None
    assert "onebox.services.tracing.tracing" not in sys.modules


@pytest.mark.parametrize("name", ["ONEBOX_OTEL_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_both_names_of_the_setting_turn_it_on(tmp_path, monkeypatch, name):
    monkeypatch.setenv(name, "http://127.0.0.1:9/")
    tracing = create_tracing(Settings(root=tmp_path))
    assert tracing is not None
    tracing.close()


def test_a_missing_extra_says_how_to_get_it(tmp_path, monkeypatch):
    real = builtins.__import__

    def without_sdk(name, *args, **kwargs):
        if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter")):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_sdk)
    for module in ("export", "tracing"):
        monkeypatch.delitem(sys.modules, f"onebox.services.tracing.{module}", raising=False)
    with pytest.raises(ConfigurationError, match=r"pip install 'onebox\[otel\]'"):
        create_tracing(Settings(root=tmp_path, otel_endpoint="http://127.0.0.1:4318"))


@pytest.mark.parametrize(
    "wanted", ["127.0.0.1:4318", "ftp://host", "http://", "http://user:hunter2@host:4318"]
)
def test_an_address_that_is_none_is_refused_without_its_secret(tmp_path, wanted):
    with pytest.raises(ConfigurationError, match="ONEBOX_OTEL_ENDPOINT") as caught:
        create_tracing(Settings(root=tmp_path, otel_endpoint=wanted))
    assert "hunter2" not in str(caught.value)
