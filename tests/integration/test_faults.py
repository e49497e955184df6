"""The server is told to stop while there is work, and starts only where it may."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.asking import Background, holding, wait_for_state
from tests.support.ends import in_background, plain_end
from tests.support.faults_plugin import PLUGINS
from tests.support.server import ROOT, Server, has_ended, running_server, wait_for

GRACE_S = 4
# A plugin with which no worker ever comes up.
NEVER_UP = """
import sys, time
if "onebox.runtime.worker" in " ".join(sys.orig_argv):
    time.sleep(3600)
"""


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
        with holding(client, "org/beta", steps=20, step_s=0.01) as short:
            worker = own_server.worker()
            own_server.process.send_signal(stop)
            assert short.end().name == "result"
        assert long.end().data["error"]["code"] == "shutting_down"
    assert own_server.process.wait(120) == 0
    assert has_ended(worker)


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
        assert [asked.result(120).code for asked in (hangs, waits)] == ["shutting_down"] * 2
    assert has_ended(worker)


def test_the_data_folder_has_one_owner(server: Server, models: Path) -> None:
    with (
        pytest.raises(AssertionError, match=f"process {server.process.pid}"),
        running_server(server.data_dir, models, **PLUGINS),
    ):
        pass


def test_a_server_that_is_still_starting_stops_at_once(models: Path, tmp_path: Path) -> None:
    (tmp_path / "never_up.py").write_text(NEVER_UP)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(tmp_path)])
    settings = {"ONEBOX_PLUGINS": "never_up", "PYTHONPATH": path, "ONEBOX_SHUTDOWN_GRACE": "600"}
    with running_server(tmp_path / "data", models, wait_ready=False, **settings) as own:
        assert own.stop() == 0
