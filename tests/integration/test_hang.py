"""A worker that is alive and does nothing: whoever waits for it is answered, and it is replaced."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import Future

import httpx
import psutil
import pytest

from tests.support.asking import Background, wait_for_state
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.ends import OK, End, in_background, plain_end, streamed_end, wait_until_ready
from tests.support.faults_plugin import PLUGINS
from tests.support.server import Server, has_ended, running_server, wait_for

HANG_TIMEOUT_S = 10
TIMEOUT_S = 3.0
# The kill comes a little after the hang timeout; on top of it is what a busy machine may take.
KILLED_S = TIMEOUT_S + HANG_TIMEOUT_S + 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    dummy_checkpoint(folder / "alpha")
    dummy_checkpoint(folder / "beta", other_contents=True)
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {"ONEBOX_HANG_TIMEOUT": str(HANG_TIMEOUT_S), "ONEBOX_SHUTDOWN_GRACE": "0"}
    with running_server(data_dir, folder, **PLUGINS, **settings) as running:
        yield running


@pytest.fixture
def background() -> Iterator[Background]:
    with in_background() as submit:
        yield submit


def ask_behind_it(client: httpx.Client, background: Background) -> list[Future[End]]:
    """Requests that wait for the worker: for its model and for another, patient and not."""
    asked: list[Future[End]] = [
        background(plain_end, client, "echo", model="alpha"),
        background(streamed_end, client, "echo", model="beta"),
        background(plain_end, client, "echo", model="beta", timeout_s=TIMEOUT_S),
    ]

    def all_wait() -> bool:
        running = client.get("/v1/status").json()["running"]["count"]
        return running >= len(asked) or asked[-1].done()

    wait_for(all_wait)
    return asked


def check_it_is_replaced(
    server: Server, client: httpx.Client, worker: psutil.Process, waiting: list[Future[End]]
) -> None:
    """The patient are told that the worker is lost, the impatient that their time is over."""
    codes = [asked.result(KILLED_S).code for asked in waiting]
    assert codes == ["worker_lost", "worker_lost", "deadline_exceeded"]
    assert has_ended(worker)
    wait_until_ready(client)
    assert plain_end(client, "echo", model="alpha") == End(*OK)
    assert client.get("/v1/status").json()["running"]["count"] == 0
    assert server.worker().pid != worker.pid


@pytest.mark.parametrize("kind", ["hold the GIL", "ignore all"])
def test_a_task_that_hangs(
    server: Server, client: httpx.Client, background: Background, kind: str
) -> None:
    """It hangs in a native call with the GIL, so that no heartbeat comes; or it only ignores its
    deadline, and the worker seems well.
    """
    wait_until_ready(client)
    worker, request_id = server.worker(), kind.replace(" ", "-")
    body = {"model": "alpha", "kind": kind, "timeout_s": TIMEOUT_S, "request_id": request_id}
    hangs = background(plain_end, client, "fault", **body)
    wait_for_state(client, request_id, "running")
    waiting = ask_behind_it(client, background)
    end = hangs.result(KILLED_S)
    assert (end.status, end.code) == (504, "deadline_exceeded")
    # It was answered at its deadline, and not by the end of the worker.
    assert worker.is_running()
    check_it_is_replaced(server, client, worker, waiting)


def test_a_worker_that_is_stopped(
    server: Server, client: httpx.Client, background: Background
) -> None:
    wait_until_ready(client)
    worker = server.worker()
    worker.send_signal(signal.SIGSTOP)
    check_it_is_replaced(server, client, worker, ask_behind_it(client, background))


def test_the_log_says_why(server: Server) -> None:
    log = "".join(server.log())
    assert "no sign of life for" in log
    assert "a request did not stop for" in log
