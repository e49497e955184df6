from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from onebox.core.results import Timing
from onebox.services.metrics import Metrics
from tests.unit.runtime.fakes import NotingClient

PROMISED = """
http_requests_total http_request_duration_seconds http_requests_active
onebox_predictions_total onebox_inference_duration_seconds onebox_model_load_seconds
onebox_model_loaded onebox_queue_depth onebox_device_memory_bytes
"""


@pytest.fixture
def client(tmp_path):
    return NotingClient(tmp_path)


@pytest.fixture
def metrics(client):
    return Metrics(lambda: [client])


def samples(metrics):
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    "name",
    PROMISED.split(),
)
def test_every_promised_metric_is_on_the_page_from_the_start(metrics, name):
    assert f"# TYPE {name} " in metrics.render().decode()


def test_predictions_are_counted_by_their_end(metrics):
    for status in ("ok", "ok", "queue_full"):
        metrics.prediction("chat", "m", status)
    found = samples(metrics)
    assert found["onebox_predictions_total", "chat", "m", "ok"] == 2
    assert found["onebox_predictions_total", "chat", "m", "queue_full"] == 1


def test_a_load_is_only_counted_when_there_was_one(metrics):
    metrics.timing("chat", "m", Timing(run_s=2.0))
    metrics.timing("chat", "m", Timing(run_s=1.0, load_s=7.0))
    found = samples(metrics)
    assert found["onebox_inference_duration_seconds_sum", "chat", "m"] == 3.0
    assert found["onebox_model_load_seconds_sum", "m"] == 7.0
    assert found["onebox_model_load_seconds_count", "m"] == 1


def test_the_workers_state_is_read_at_each_scrape(metrics, client):
    assert ("onebox_queue_depth", "cpu") not in samples(metrics)
    client.has_loaded("a", "b")
    found = samples(metrics)
    assert found["onebox_model_loaded", "a", "cpu"] == 1
    assert found["onebox_queue_depth", "cpu"] == 0
    assert found["onebox_device_memory_bytes", "budget", "cpu"] == 100
    assert found["onebox_device_memory_bytes", "cpu", "models"] == 2
    client.has_loaded("b")
    assert ("onebox_model_loaded", "a", "cpu") not in samples(metrics)


def test_two_servers_in_one_process_count_for_themselves(metrics, client):
    other = Metrics(lambda: [client])
    other.prediction("chat", "m", "ok")
    assert ("onebox_predictions_total", "chat", "m", "ok") not in samples(metrics)
