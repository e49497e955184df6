"""What a worker dies of, and what each of its requests is told: one 503, and the server goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.asking import Background, wait_for_state
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.ends import (
    OK,
    End,
    in_background,
    plain_end,
    streamed_end,
    unready_reasons,
    wait_until_ready,
)
from tests.support.faults_plugin import PLUGINS, RAISES, deadly_checkpoint
from tests.support.server import Server, has_ended, running_server, wait_for

# So long a test waits for an answer that is due at once: longer than a worker takes to start.
ANSWER_S = 120.0
PLAIN = 2


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    dummy_checkpoint(folder / "alpha")
    dummy_checkpoint(folder / "beta", other_contents=True)
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, folder, **PLUGINS, ONEBOX_SHUTDOWN_GRACE="0") as running:
        yield running


@pytest.fixture
def background() -> Iterator[Background]:
    with in_background() as submit:
        yield submit


def ask_all_ways(client: httpx.Client, background: Background) -> list[Future[End]]:
    """Requests that wait, the PLAIN ones first, for the model in use and for another."""
    ways = [(end, model) for end in (plain_end, streamed_end) for model in ("alpha", "beta")]
    asked = [background(end, client, "steps", model=model) for end, model in ways]
    wait_for(lambda: client.get("/v1/status").json()["queue"]["waiting"] == len(ways))
    return asked


def begin_fault(
    client: httpx.Client, background: Background, request_id: str, **fault: Any
) -> Future[End]:
    """A streamed request of task `fault` that runs and has told so."""
    began = threading.Event()
    asked: Future[End] = background(
        streamed_end,
        client,
        "fault",
        request_id=request_id,
        on_event=lambda _: began.set(),
        model="alpha",
        **fault,
    )
    wait_for_state(client, request_id, "running")
    assert began.wait(ANSWER_S)
    return asked


@pytest.mark.parametrize("death", ["killed from outside", "sigsegv"])
def test_a_dead_worker_costs_each_of_its_requests_one_503(
    server: Server, client: httpx.Client, background: Background, tmp_path: Path, death: str
) -> None:
    wait_until_ready(client)
    cue, worker = tmp_path / "cue", server.worker()
    kind = "sigsegv" if death == "sigsegv" else "exit"
    running = begin_fault(client, background, "the-one-that-runs", kind=kind, when=str(cue))
    waiting = ask_all_ways(client, background)
    if death == "sigsegv":
        cue.touch()
    else:
        worker.kill()
    ends = [asked.result(ANSWER_S) for asked in (running, *waiting)]
    assert [(end.status, end.code) for end in ends] == [(503, "worker_lost")] * len(ends)
    cause = "SIGSEGV" if death == "sigsegv" else "SIGKILL"
    assert all(cause in end.message for end in ends)
    # A stream that has begun has no head left to say it in.
    assert all(int(end.retry_after or 0) >= 1 for end in ends[1 : 1 + PLAIN])
    # Asked at once, it waits for the next worker.
    assert plain_end(client, "echo", model="alpha") == End(*OK)
    assert server.worker().pid != worker.pid


@pytest.mark.parametrize("kind", sorted(RAISES))
def test_whatever_a_task_raises_fails_that_request_alone(
    server: Server, client: httpx.Client, background: Background, tmp_path: Path, kind: str
) -> None:
    wait_until_ready(client)
    cue, worker = tmp_path / "cue", server.worker()
    running = begin_fault(client, background, "the-one-that-raises", kind=kind, when=str(cue))
    waiting = ask_all_ways(client, background)
    cue.touch()
    end = running.result(ANSWER_S)
    assert (end.status, end.code) == (500, "inference_failed")
    assert [asked.result(ANSWER_S) for asked in waiting] == [End(*OK)] * len(waiting)
    assert server.worker().pid == worker.pid


@pytest.fixture(scope="module")
def deadly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a good model, and two whose loads end the worker."""
    folder = tmp_path_factory.mktemp("models")
    dummy_checkpoint(folder / "good")
    deadly_checkpoint(folder / "killer", death="sigkill")
    deadly_checkpoint(folder / "quitter", death="exit")
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, folder, **PLUGINS, ONEBOX_SHUTDOWN_GRACE="0") as running:
        yield running


def test_a_worker_that_dies_while_loading_again_and_again(deadly: Server) -> None:
    with deadly.client() as client:
        for _ in range(3):
            end = plain_end(client, "echo", model="killer")
            assert (end.status, end.code) == (503, "worker_lost")
            assert int(end.retry_after or 0) >= 1
        # After three in a row nobody is kept waiting for the next try, and all are told why.
        wait_for(lambda: "3 times in a row (signal SIGKILL)" in unready_reasons(client))
        end = plain_end(client, "echo", model="good")
        assert (end.status, end.code) == (503, "worker_unready")
        assert "3 times in a row (signal SIGKILL)" in end.message
        assert int(end.retry_after or 0) >= 1
        # Nobody asks for it any more.
        wait_until_ready(client)
        assert plain_end(client, "echo", model="good") == End(*OK)
        # Once more is enough to be refused at once again.
        assert plain_end(client, "echo", model="quitter").code == "worker_lost"
        wait_for(lambda: "4 times in a row (exit status 3)" in unready_reasons(client))
        wait_until_ready(client)
        assert plain_end(client, "echo", model="good") == End(*OK)


def test_a_killed_gateway_takes_a_worker_along_that_is_deep_in_a_native_call(
    deadly: Server, background: Background
) -> None:
    """Only the kernel can end it: no thread of it can read that its pipe has ended."""
    with deadly.client() as client:
        wait_until_ready(client)
        fault = {"model": "good", "kind": "hold the GIL", "request_id": "holds-the-gil"}
        running = background(plain_end, client, "fault", **fault)
        wait_for_state(client, "holds-the-gil", "running")
        worker = deadly.worker()
        deadly.process.kill()
        wait_for(lambda: has_ended(worker))
        assert isinstance(running.exception(ANSWER_S), httpx.HTTPError)
