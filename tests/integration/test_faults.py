"""A worker dies, a client leaves, a request takes too long, the server is told to stop."""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import PLUGIN
from tests.support.server import Server, running_server, wait_for

LONG: dict[str, object] = {"model": "alpha", "steps": 100_000, "step_s": 0.01}
EVENTS = {"Accept": "text/event-stream"}


@pytest.fixture
def own_server(models: Path, tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data", models, **PLUGIN, ONEBOX_SHUTDOWN_GRACE="4") as running:
        yield running


@pytest.fixture
def in_background() -> Iterator[Callable[..., Future[httpx.Response]]]:
    with ThreadPoolExecutor() as pool:
        yield pool.submit


@contextlib.contextmanager
def long_request(client: httpx.Client, body: dict[str, object] = LONG) -> Iterator[Iterator[str]]:
    """A streamed request that has begun to run, as its further lines. Leaving ends it."""
    with client.stream("POST", "/v1/tasks/steps", headers=EVENTS, json=body) as stream:
        lines = stream.iter_lines()
        while next(lines) != "event: progress":
            pass
        yield lines


def running(client: httpx.Client) -> float:
    """Requests inside the task routes now, as the metrics tell."""
    for line in client.get("/metrics").text.splitlines():
        if line.startswith('http_requests_active{method="POST",route="/v1/tasks/steps"}'):
            return float(line.split()[-1])
    return 0


def test_a_killed_worker_costs_a_503_and_nothing_else(
    server: Server, client: httpx.Client, in_background: Callable[..., Future[httpx.Response]]
) -> None:
    with long_request(client) as lines:
        waiting = in_background(client.post, "/v1/tasks/steps", json=LONG)
        wait_for(lambda: running(client) == 2)
        server.worker().kill()
        killed = time.monotonic()
        answer = waiting.result(30)
        assert time.monotonic() - killed < 2
        assert next(line for line in lines if line.startswith("event: error"))
        error = json.loads(next(line for line in lines if line.startswith("data: "))[6:])["error"]
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "worker_lost")
    assert int(answer.headers["retry-after"]) >= 1
    assert error["code"] == "worker_lost"
    assert client.post("/v1/tasks/echo", json={"model": "alpha", "text": "on"}).status_code == 200


@pytest.mark.parametrize("streaming", [False, True])
def test_a_client_that_leaves_frees_the_device(
    server: Server, client: httpx.Client, streaming: bool
) -> None:
    with server.client() as leaver:
        if streaming:
            with long_request(leaver):
                pass
        else:
            with pytest.raises(httpx.ReadTimeout):
                leaver.post("/v1/tasks/steps", json=LONG, timeout=0.5)
    wait_for(lambda: running(client) == 0)
    # The engine runs one request at a time, so this is answered only if the other one stopped.
    assert client.post("/v1/tasks/echo", json={"model": "alpha"}).status_code == 200


def test_a_request_that_waits_is_dropped_when_its_client_leaves(
    server: Server, client: httpx.Client
) -> None:
    with long_request(client):
        with pytest.raises(httpx.ReadTimeout), server.client() as leaver:
            leaver.post("/v1/tasks/echo", json={"model": "alpha"}, timeout=0.5)
        wait_for(lambda: 'status="cancelled",task="echo"' in _predictions(client))
    assert client.post("/v1/tasks/echo", json={"model": "alpha"}).status_code == 200


def test_a_request_past_the_servers_limit_is_a_504(models: Path, tmp_path: Path) -> None:
    settings = {**PLUGIN, "ONEBOX_REQUEST_TIMEOUT": "0.5"}
    with running_server(tmp_path / "data", models, **settings) as own, own.client() as client:
        answer = client.post("/v1/tasks/steps", json=LONG)
        assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
        assert answer.headers["x-should-retry"] == "false"
        assert client.post("/v1/tasks/echo", json={"model": "alpha"}).status_code == 200


def test_a_full_queue_is_a_429(
    models: Path, tmp_path: Path, in_background: Callable[..., Future[httpx.Response]]
) -> None:
    settings = {**PLUGIN, "ONEBOX_MAX_QUEUE": "2", "ONEBOX_SHUTDOWN_GRACE": "0"}
    with running_server(tmp_path / "data", models, **settings) as own, own.client() as client:
        with long_request(client):
            waiting = [
                in_background(client.post, "/v1/tasks/echo", json={"model": "alpha"}) for _ in "12"
            ]
            wait_for(lambda: 'onebox_queue_depth{device="cpu"} 2.0' in client.get("/metrics").text)
            answer = client.post("/v1/tasks/echo", json={"model": "alpha"})
            assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
            assert "retry-after" in answer.headers
        assert [request.result(30).status_code for request in waiting] == [200, 200]


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_short_request_finish_and_answers_a_long_one(
    own_server: Server, stop: signal.Signals
) -> None:
    short = {"model": "org/beta", "steps": 50, "step_s": 0.01}
    with own_server.client() as client, long_request(client) as long_lines:
        with long_request(client, short) as short_lines:
            worker = own_server.worker()
            own_server.process.send_signal(stop)
            assert "event: result" in list(short_lines)
        assert '"code": "shutting_down"' in "".join(long_lines)
    assert own_server.process.wait(30) == 0
    assert not worker.is_running()


def test_a_killed_gateway_takes_its_worker_along(own_server: Server) -> None:
    worker = own_server.worker()
    own_server.process.kill()
    wait_for(lambda: not worker.is_running())


def test_the_data_folder_has_one_owner(server: Server, models: Path) -> None:
    with (
        pytest.raises(AssertionError, match=f"process {server.process.pid}"),
        running_server(server.data_dir, models, **PLUGIN),
    ):
        pass


def _predictions(client: httpx.Client) -> str:
    lines = client.get("/metrics").text.splitlines()
    return "\n".join(line for line in lines if line.startswith("onebox_predictions_total"))


def test_a_server_that_is_still_starting_stops_at_once(models: Path, tmp_path: Path) -> None:
    settings = {**PLUGIN, "ONEBOX_SHUTDOWN_GRACE": "60"}
    with running_server(tmp_path / "data", models, wait_ready=False, **settings) as own:
        assert own.stop() == 0
        # It did not wait for the worker to come up first.
        assert "worker_ready" not in "".join(own.lines)
