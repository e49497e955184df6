"""Transcriptions that end before their time, whatever ends them: nothing of them is left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.support.asking import Background, running_requests, wait_for_state
from tests.support.ends import end_of, wait_until_ready
from tests.support.listening import (
    decoders,
    form,
    joined,
    nobody_reads,
    post,
    speech_file,
)
from tests.support.server import Server, has_ended, running_server, wait_for
from tests.support.talking import ONE_THREAD, wait_until_idle
from tests.support.tiny_listener import listening_model

# Longer than what a decoder makes ahead: it lives as long as the request.
LONG_TIMES = 40


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listeners")
    listening_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, models, **ONE_THREAD, ONEBOX_SHUTDOWN_GRACE="0") as running:
        yield running


@pytest.fixture(scope="module")
def long_file() -> bytes:
    return joined(LONG_TIMES)


@pytest.fixture(autouse=True)
def nothing_is_left(server: Server, client: httpx.Client) -> Iterator[None]:
    """Neither work, nor decoders but the one that waits for the next file, nor spooled files."""
    wait_until_ready(client)
    yield
    wait_until_ready(client)
    wait_until_idle(client)
    wait_for(lambda: len(decoders(server)) <= 1)
    wait_for(lambda: not spooled(server))
    answer = post(client, speech_file("flac"), temperature=0.5)
    assert answer.status_code == 200, answer.text


def spooled(server: Server) -> list[Path]:
    return [path for path in (server.data_dir / "spool").rglob("*") if path.is_file()]


@pytest.mark.parametrize("stream", ["true", "false"])
def test_a_client_that_leaves(
    server: Server, client: httpx.Client, long_file: bytes, stream: str
) -> None:
    with nobody_reads(server, form(long_file, stream=stream), "leaver"):
        wait_for_state(client, "leaver", "running")
    wait_for(lambda: "leaver" not in running_requests(client))


def test_a_client_that_leaves_in_the_middle_of_its_upload(
    server: Server, client: httpx.Client, long_file: bytes
) -> None:
    body = form(long_file)
    for sent in (100, len(body) // 2, len(body) - 3):
        with nobody_reads(server, body[:sent], "leaver", length=len(body)):
            pass
    assert client.get("/health").status_code == 200


def test_many_that_leave_at_once(server: Server, client: httpx.Client) -> None:
    """More than are open, or decoded, at the same time."""
    body = form(joined(4))
    for number in range(20):
        with nobody_reads(server, body, f"leaver-{number}"):
            pass
    wait_for(lambda: not running_requests(client))


def test_a_cancel_and_a_time_limit(
    client: httpx.Client, long_file: bytes, in_background: Background
) -> None:
    named = {"X-Request-ID": "mine"}
    asked = in_background(post, client, long_file, headers=named)
    wait_for_state(client, "mine", "running")
    assert client.post("/v1/requests/mine/cancel").json()["status"] == "cancelling"
    assert end_of(asked.result(120)).code == "cancelled"
    assert end_of(post(client, long_file, timeout_s=0.5)).code == "deadline_exceeded"


def test_a_worker_that_dies_is_a_503_and_takes_its_decoders_with_it(
    server: Server, client: httpx.Client, long_file: bytes, in_background: Background
) -> None:
    named = {"X-Request-ID": "mine"}
    asked = in_background(post, client, long_file, headers=named)
    wait_for_state(client, "mine", "running")
    old = decoders(server)
    assert old
    server.worker().kill()
    end = end_of(asked.result(120))
    assert (end.status, end.code) == (503, "worker_lost")
    wait_for(lambda: all(map(has_ended, old)))


def test_a_decoder_that_is_killed_fails_its_own_request_alone(
    server: Server, client: httpx.Client, long_file: bytes, in_background: Background
) -> None:
    named = {"X-Request-ID": "mine"}
    asked = in_background(post, client, long_file, headers=named)
    wait_for_state(client, "mine", "running")
    for process in decoders(server):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    end = end_of(asked.result(120))
    assert end.status == 500
    assert "decoder was stopped" in end.message


def test_the_end_of_the_server_leaves_no_process(
    models: Path, tmp_path: Path, long_file: bytes, in_background: Background
) -> None:
    grace: dict[str, Any] = {"ONEBOX_SHUTDOWN_GRACE": "0"}
    with (
        running_server(tmp_path / "data", models, **ONE_THREAD, **grace) as ending,
        ending.client() as client,
    ):
        asked = in_background(post, client, long_file, headers={"X-Request-ID": "mine"})
        wait_for_state(client, "mine", "running")
        children = psutil.Process(ending.process.pid).children(recursive=True)
        assert decoders(ending)
        assert ending.stop() == 0
        with contextlib.suppress(httpx.TransportError):
            assert asked.result(120).status_code == 503
    wait_for(lambda: all(map(has_ended, children)))
