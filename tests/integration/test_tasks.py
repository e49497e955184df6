"""A task through HTTP: JSON, bytes and events; JSON and multipart bodies; every refusal."""

from __future__ import annotations

import base64

import httpx
import pytest

from tests.support.asking import EVENTS, events_of
from tests.support.server import Server, wait_for


def test_json_in_json_out(client: httpx.Client) -> None:
    answer = client.post("/v1/tasks/echo", json={"model": "alpha", "text": "hello"})
    assert answer.status_code == 200
    assert answer.json()["outputs"][0]["json"]["text"] == "hello"
    assert answer.json()["model"] == "alpha"
    assert set(answer.json()["timing"]) == {"queue_s", "load_s", "run_s", "encode_s"}


def test_a_nested_model_is_known_by_its_path_and_by_its_hash(client: httpx.Client) -> None:
    sha256 = wait_for(lambda: client.get("/v1/models/org%2Fbeta").json()["sha256"])
    for name in ("org/beta", sha256, sha256[:8]):
        assert client.post("/v1/tasks/echo", json={"model": name}).json()["model"] == "org/beta"


@pytest.mark.parametrize("how", ["data-url", "multipart"])
def test_binary_in_bytes_out(client: httpx.Client, how: str) -> None:
    data = bytes(range(256))
    headers = {"Accept": "application/octet-stream"}
    if how == "data-url":
        url = "data:application/x-any;base64," + base64.b64encode(data).decode()
        body = {"json": {"model": "alpha", "data": url, "times": 2}}
    else:
        body = {"files": {"data": ("../../x", data)}, "data": {"model": "alpha", "times": "2"}}
    answer = client.post("/v1/tasks/repeat-bytes", headers=headers, **body)
    assert answer.content == data * 2
    assert answer.headers["content-type"] == "application/x-dummy"
    assert answer.headers["x-onebox-length"] == "512"


def test_large_bytes_go_both_ways_and_leave_nothing_behind(
    client: httpx.Client, server: Server
) -> None:
    data = b"x" * 5_000_000
    headers = {"Accept": "application/octet-stream"}
    form = {"model": "alpha", "times": "2"}
    answer = client.post("/v1/tasks/repeat-bytes", headers=headers, files={"data": data}, data=form)
    assert len(answer.content) == 10_000_000
    wait_for(lambda: not list((server.data_dir / "spool").iterdir()))


@pytest.mark.parametrize("size", [1000, 5_000_000])
def test_a_list_of_files_keeps_its_order(client: httpx.Client, server: Server, size: int) -> None:
    parts = [bytes([number]) * size for number in range(3)]
    headers = {"Accept": "application/octet-stream"}
    files = [("parts[]", part) for part in parts]
    answer = client.post(
        "/v1/tasks/join-bytes", headers=headers, files=files, data={"model": "alpha"}
    )
    assert answer.content == b"".join(parts)
    wait_for(lambda: not list((server.data_dir / "spool").iterdir()))


def test_events_tell_every_step_and_end_with_the_result(client: httpx.Client) -> None:
    body = {"model": "alpha", "steps": 3}
    answer = client.post("/v1/tasks/steps", headers=EVENTS, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = list(events_of(answer.text.splitlines()))
    assert [event.data["step"] for event in events if event.name == "progress"] == [1, 2, 3]
    assert events[-1].name == "result"


def test_a_late_error_is_an_event_in_the_one_shape(client: httpx.Client) -> None:
    body = {"model": "alpha", "steps": 1, "fail": "bug"}
    answer = client.post("/v1/tasks/steps", headers=EVENTS, json=body)
    *_, last = events_of(answer.text.splitlines())
    assert last.name == "error"
    error = last.data["error"]
    assert (error["code"], error["status"]) == ("inference_failed", 500)
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in error["message"]


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        ({"model": "alpha", "text": 5}, 422, "invalid_value", "text"),
        ({"model": "alpha", "text": "x" * 101}, 422, "invalid_value", "text"),
        ({"model": "alpha", "txet": "x"}, 422, "unknown_parameter", "txet"),
        ({"model": "alpha", "text": "refuse"}, 422, "invalid_value", "text"),
        ({"model": "alpha", "text": "buggy check"}, 500, "inference_failed", None),
        ({"model": "alhpa"}, 404, "model_not_found", "model"),
        ({"text": "which model?"}, 422, "invalid_value", "model"),
        ({"model": "broken"}, 422, "model_broken", "model"),
        ({"model": "garbage"}, 422, "model_broken", "model"),
        ({"model": "unloadable"}, 500, "inference_failed", None),
        ([1, 2], 422, "invalid_value", None),
        ({"model": "alpha", "data": {"file_id": "0" * 32}}, 422, "unknown_parameter", "data"),
    ],
)
def test_what_is_wrong_is_said(
    client: httpx.Client, body: object, status: int, code: str, param: str | None
) -> None:
    answer = client.post("/v1/tasks/echo", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["status"] == status
    assert error["request_id"] == answer.headers["x-request-id"]
    assert "secret" not in error["message"]
    assert client.post("/v1/tasks/echo", json={"model": "alpha", "text": "on"}).status_code == 200


def test_the_nearest_names_are_offered(client: httpx.Client) -> None:
    error = client.post("/v1/tasks/echo", json={"model": "alhpa"}).json()["error"]
    assert "alpha" in error["message"]


def test_a_client_cannot_name_a_spooled_file(client: httpx.Client, server: Server) -> None:
    spool_id = "f" * 32
    (server.data_dir / "spool" / spool_id).write_bytes(b"not yours")
    body = {"model": "alpha", "data": {"file_id": spool_id}}
    answer = client.post("/v1/tasks/repeat-bytes", json=body)
    (server.data_dir / "spool" / spool_id).unlink()
    assert answer.status_code == 422


def test_a_task_that_the_model_cannot_do(client: httpx.Client) -> None:
    answer = client.post("/v1/tasks/text-to-image", json={"model": "alpha", "prompt": "x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (400, "task_not_supported")
    assert "echo" in error["message"]


def test_a_body_over_the_limit(client: httpx.Client) -> None:
    answer = client.post("/v1/tasks/echo", content=b"x" * 20_000_001)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


def test_out_of_memory_is_a_503_and_the_next_request_works(client: httpx.Client) -> None:
    answer = client.post("/v1/tasks/steps", json={"model": "alpha", "fail": "memory"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "insufficient_memory")
    assert "retry-after" in answer.headers
    assert client.post("/v1/tasks/echo", json={"model": "alpha"}).status_code == 200


def test_a_worker_cannot_use_the_network(client: httpx.Client, server: Server) -> None:
    answer = client.post("/v1/tasks/steps", json={"model": "alpha", "fail": "network"})
    assert answer.status_code == 500
    wait_for(lambda: any("may not use the network" in line for line in server.lines))


def test_two_values_for_one_field_of_a_form(client: httpx.Client) -> None:
    files = [("data", b"one"), ("data", b"two")]
    answer = client.post("/v1/tasks/repeat-bytes", files=files, data={"model": "alpha"})
    assert answer.status_code == 422
