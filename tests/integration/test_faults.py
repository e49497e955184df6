"""The server is told to stop while there is work, and starts only where it may."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import Background, holding, wait_for_state
from tests.support.ends import in_background, plain_end
from tests.support.faults_plugin import PLUGINS
from tests.support.server import Server, running_server, wait_for

GRACE_S = 4


@pytest.fixture
def own_server(models: Path, tmp_path: Path) -> Iterator[Server]:
    settings = {**PLUGINS, "ONEBOX_SHUTDOWN_GRACE": str(GRACE_S)}
    with running_server(tmp_path / "data", models, **settings) as running:
        yield running


@pytest.fixture
def background() -> Iterator[Background]:
    with in_background() as submit:
        yield submit


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_a_short_request_finish_and_answers_a_long_one(
    own_server: Server, stop: signal.Signals
) -> None:
    with own_server.client() as client, holding(client, "alpha") as long:
        with holding(client, "org/beta", steps=50, step_s=0.01) as short:
            worker = own_server.worker()
            own_server.process.send_signal(stop)
            assert short.end().name == "result"
        assert long.end().data["error"]["code"] == "shutting_down"
    assert own_server.process.wait(30) == 0
    assert not worker.is_running()


def test_a_stop_does_not_wait_for_a_worker_that_hangs(
    own_server: Server, background: Background
) -> None:
    with own_server.client() as client:
        fault = {"model": "alpha", "kind": "hold the GIL", "request_id": "hangs"}
        hangs = background(plain_end, client, "fault", **fault)
        wait_for_state(client, "hangs", "running")
        waits = background(plain_end, client, "echo", model="alpha")
        wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 2)
        worker = own_server.worker()
        assert own_server.stop() == 0
        assert [asked.result(30).code for asked in (hangs, waits)] == ["shutting_down"] * 2
    assert not worker.is_running()


def test_the_data_folder_has_one_owner(server: Server, models: Path) -> None:
    with (
        pytest.raises(AssertionError, match=f"process {server.process.pid}"),
        running_server(server.data_dir, models, **PLUGINS),
    ):
        pass


def test_a_server_that_is_still_starting_stops_at_once(models: Path, tmp_path: Path) -> None:
    settings = {**PLUGINS, "ONEBOX_SHUTDOWN_GRACE": "60"}
    with running_server(tmp_path / "data", models, wait_ready=False, **settings) as own:
        assert own.stop() == 0
        # It did not wait for the worker to come up first.
        assert "Models run on" not in "".join(own.lines)
