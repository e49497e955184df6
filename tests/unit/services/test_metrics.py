from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from onebox import __version__
from onebox.core.results import Timing
from onebox.services.metrics import Metrics
from tests.unit.runtime.clients import NotingClient, bundle

PROMISED = """
http_requests_total http_request_duration_seconds http_requests_active
onebox_predictions_total onebox_inference_duration_seconds onebox_model_load_seconds
onebox_model_loaded onebox_queue_depth onebox_device_memory_bytes
onebox_memory_returned_bytes_total onebox_worker_starts_total onebox_prediction_confidence
onebox_jobs_ended_total onebox_job_duration_seconds onebox_build_info onebox_data_disk_bytes
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


def names(metrics):
    return {name for name, *_ in samples(metrics)}


@pytest.mark.parametrize("name", PROMISED.split())
def test_every_promised_metric_is_on_the_page_from_the_start(metrics, name):
    assert f"# TYPE {name} " in metrics.render().decode()


def test_predictions_are_counted_by_their_end(metrics):
    for status in ("ok", "ok", "queue_full"):
        metrics.inference.prediction("chat", "m", status)
    found = samples(metrics)
    assert found["onebox_predictions_total", "chat", "m", "ok"] == 2
    assert found["onebox_predictions_total", "chat", "m", "queue_full"] == 1


def test_confidence_is_counted_by_task_and_model(metrics):
    for value in (0.5, 0.97):
        metrics.inference.confidence("cutout", "m", value)
    found = samples(metrics)
    assert found["onebox_prediction_confidence_sum", "cutout", "m"] == pytest.approx(1.47)
    assert found["onebox_prediction_confidence_bucket", "0.95", "cutout", "m"] == 1


def test_attempts_to_send_a_webhook_are_counted_by_what_came_of_them(metrics):
    for state in ("pending", "delivered", "delivered"):
        metrics.webhooks.sent(state)
    found = samples(metrics)
    assert found["onebox_webhooks_total", "delivered"] == 2
    assert found["onebox_webhooks_total", "pending"] == 1


def test_a_load_is_only_counted_when_there_was_one(metrics):
    metrics.inference.timing("chat", "m", Timing(run_s=2.0))
    metrics.inference.timing("chat", "m", Timing(run_s=1.0, load_s=7.0))
    found = samples(metrics)
    assert found["onebox_inference_duration_seconds_sum", "chat", "m"] == 3.0
    assert found["onebox_model_load_seconds_sum", "m"] == 7.0
    assert found["onebox_model_load_seconds_count", "m"] == 1


def test_the_workers_state_is_read_at_each_scrape(metrics, client):
    assert "onebox_queue_depth" not in names(metrics)
    client.has(bundle("a"), bundle("b"))
    found = samples(metrics)
    assert found["onebox_model_loaded", "0", "a", "cpu"] == 1
    assert found["onebox_queue_depth", "0", "cpu"] == 0
    assert found["onebox_device_memory_bytes", "0", "budget", "cpu"] == 100
    client.has(bundle("b"))
    assert ("onebox_model_loaded", "0", "a", "cpu") not in samples(metrics)


def test_only_what_is_ready_counts_as_loaded_but_all_of_it_takes_memory(metrics, client):
    client.has(
        bundle("a", size_bytes=5, reserved_bytes=2),
        bundle("b", state="loading", size_bytes=7),
        bundle("c", state="leaving", size_bytes=11, reserved_bytes=3),
        leaked_bytes=13,
        returned_bytes=17,
    )
    found = samples(metrics)
    loaded = [place[2] for place in found if place[0] == "onebox_model_loaded"]
    assert loaded == ["a"]
    assert found["onebox_device_memory_bytes", "0", "cpu", "models"] == 23
    assert found["onebox_device_memory_bytes", "0", "cpu", "work"] == 5
    assert found["onebox_device_memory_bytes", "0", "cpu", "leaked"] == 13
    assert found["onebox_memory_returned_bytes_total", "0", "cpu"] == 17


def test_two_states_of_one_checkpoint_are_one_model(metrics, client):
    client.has(bundle("a"), bundle("a"))
    assert samples(metrics)["onebox_model_loaded", "0", "a", "cpu"] == 1


def test_workers_of_one_device_are_told_apart(tmp_path):
    clients = [NotingClient(tmp_path, index) for index in range(2)]
    clients[1].come_up()
    for client in clients:
        client.has(bundle("a"))
    found = samples(Metrics(lambda: clients))
    assert found["onebox_worker_starts_total", "0", "cpu"] == 1
    assert found["onebox_worker_starts_total", "1", "cpu"] == 2
    assert found["onebox_model_loaded", "1", "a", "cpu"] == 1


def test_a_worker_that_never_came_up_is_left_out(tmp_path):
    metrics = Metrics(lambda: [NotingClient(tmp_path, state="starting")])
    assert "onebox_worker_starts_total" not in names(metrics)


def test_two_servers_in_one_process_count_for_themselves(metrics, client):
    other = Metrics(lambda: [client])
    other.inference.prediction("chat", "m", "ok")
    assert ("onebox_predictions_total", "chat", "m", "ok") not in samples(metrics)


def test_jobs_are_counted_by_state_and_by_end(metrics):
    counts = {"queued": 3, "running": 1}
    metrics.jobs.count(lambda: counts)
    metrics.jobs.ended("text-to-video", "completed", 40.0)
    metrics.jobs.ended("text-to-video", "failed", 2.0)
    found = samples(metrics)
    assert found["onebox_jobs", "queued"] == 3
    assert found["onebox_jobs", "running"] == 1
    assert found["onebox_jobs_ended_total", "completed", "text-to-video"] == 1
    assert found["onebox_job_duration_seconds_sum", "text-to-video"] == 42
    counts["queued"] = 0
    assert samples(metrics)["onebox_jobs", "queued"] == 0


def test_the_version_and_the_room_on_the_disk_are_told(metrics, tmp_path):
    assert samples(metrics)["onebox_build_info", __version__] == 1
    assert ("onebox_data_disk_bytes", "free") not in samples(metrics)
    metrics.server.watch_disk(tmp_path)
    found = samples(metrics)
    assert 0 < found["onebox_data_disk_bytes", "free"] <= found["onebox_data_disk_bytes", "total"]


def test_a_folder_that_is_gone_takes_no_other_metric_away(metrics, tmp_path):
    metrics.server.watch_disk(tmp_path / "gone")
    assert "onebox_build_info" in names(metrics)


def test_the_first_webhook_that_is_given_up_is_an_increase(metrics):
    assert samples(metrics)["onebox_webhooks_total", "given_up"] == 0
