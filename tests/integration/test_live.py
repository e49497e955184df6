"""The live socket over a real connection: who may open it, and every way that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from onebox.services.live_transcription import FULL, MAX_COMMITS
from tests.audio.sounds import RATE
from tests.support.asking import running_requests
from tests.support.listening import decoders, speech
from tests.support.live import ended, live, say, speak, until
from tests.support.server import API_KEY, Server, running_server, wait_for
from tests.support.talking import ONE_THREAD, wait_until_idle
from tests.support.tiny_listener import listening_model

MIB = 2**20
SILENCE = bytes(2 * RATE)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listeners")
    listening_model(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {"CORS_ORIGINS": "https://let.in", "ONEBOX_SHUTDOWN_GRACE": "0", **ONE_THREAD}
    with running_server(data_dir, models, **settings) as running:
        yield running


@pytest.fixture(autouse=True)
def the_server_goes_on(server: Server, client: httpx.Client) -> Iterator[None]:
    workers = [worker.pid for worker in server.workers()]
    yield
    wait_until_idle(client)
    wait_for(lambda: len(decoders(server)) <= 1)
    assert [worker.pid for worker in server.workers()] == workers


def run(session: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(session, 300))


async def refusal(server: Server, query: str = "", **more: Any) -> int:
    """The status of a handshake that fails."""
    with pytest.raises(InvalidStatus) as caught:
        async with live(server, query, **more):
            pass
    return caught.value.response.status_code


def test_a_page_brings_its_token_as_a_subprotocol_and_does_not_get_it_back(server: Server) -> None:
    async def session() -> None:
        offered = ("onebox", f"bearer.{API_KEY}")
        origin = {"Origin": server.url}
        async with live(server, key=None, subprotocols=offered, headers=origin) as socket:
            assert socket.subprotocol == "onebox"
            assert socket.response is not None
            assert API_KEY not in str(socket.response.headers)
            await until(socket, "session.created")

    run(session())


@pytest.mark.parametrize(
    ("status", "query", "more"),
    [
        (401, "", {"key": None}),
        (401, "", {"key": "wrong"}),
        (401, f"?token={API_KEY}", {"key": None}),
        (401, f"?api_key={API_KEY}", {"key": None}),
        (401, "", {"key": None, "subprotocols": ("onebox", "bearer.wrong")}),
        (401, "", {"key": None, "subprotocols": (f"bearer.{API_KEY}",)}),
        (400, f"?token={API_KEY}", {}),
        (403, "", {"headers": {"Origin": "https://evil.example"}}),
        (403, "", {"headers": {"Origin": "null"}}),
        (404, "?model=nobody", {}),
        (400, "?language=klingon", {}),
        (400, "?language=fr", {}),
        (400, "?temperature=nan", {}),
        (400, "?partial=on&partial=off", {}),
        (400, f"?prompt={'a' * 5000}", {}),
    ],
)
def test_who_may_not_open_it_is_told_why_in_the_handshake(
    server: Server, status: int, query: str, more: dict[str, Any]
) -> None:
    assert run(refusal(server, query, **more)) == status


def test_a_page_that_was_let_in_may(server: Server) -> None:
    async def session() -> None:
        async with live(server, headers={"Origin": "https://let.in"}) as socket:
            await until(socket, "session.created")

    run(session())


def test_a_session_from_speech_to_its_end(server: Server) -> None:
    async def session() -> None:
        async with live(server, "?temperature=0.5") as socket:
            await speak(socket, speech().tobytes())
            await say(socket, "commit")
            heard = await until(socket, "transcript.committed")
            assert heard[-1]["end"] == 11.0
            await say(socket, "close")
            last, code = await ended(socket)
            assert (last["type"], last["duration"], code) == ("session.closed", 11.0, 1000)

    run(session())


@pytest.mark.parametrize(
    "message",
    [
        "hello",
        "",
        '{"type": "shutdown"}',
        '{"type": "commit", "more": 1}',
        "[" * 100_000,
    ],
    ids=["words", "nothing", "another command", "another field", "deep"],
)
def test_a_message_that_makes_no_sense_ends_it_with_an_error(server: Server, message: str) -> None:
    async def session() -> None:
        async with live(server) as socket:
            await socket.send(message)
            last, closed = await ended(socket)
            assert (last["type"], last["error"]["code"]) == ("error", "invalid_value")
            assert closed == 1008

    run(session())


@pytest.mark.parametrize("size", [2 * MIB, 200 * MIB])
def test_a_huge_message_ends_the_connection_and_nothing_else(
    server: Server, client: httpx.Client, size: int
) -> None:
    async def session() -> None:
        async with live(server) as socket:
            await until(socket, "session.created")
            try:
                await socket.send(bytes(size))
                await ended(socket)
            except ConnectionClosed:
                pass
            await socket.wait_closed()
            assert socket.close_code in (1009, 1006)

    run(session())
    assert client.get("/health").status_code == 200


def test_odd_bytes_are_put_together_and_empty_messages_are_nothing(server: Server) -> None:
    async def session() -> None:
        async with live(server) as socket:
            for piece in (b"", SILENCE[:1], SILENCE[1:1000], b"", SILENCE[1000:]):
                await socket.send(piece)
            await say(socket, "close")
            last, _ = await ended(socket)
            assert last["duration"] == 1.0

    run(session())


def test_too_many_commits_at_once_are_refused(server: Server) -> None:
    async def session() -> None:
        async with live(server) as socket:
            await speak(socket, speech().tobytes())
            for _ in range(10 * MAX_COMMITS):
                await say(socket, "commit")
            last, code = await ended(socket)
            assert (last["error"]["code"], code) == ("invalid_value", 1008)

    run(session())


def test_a_client_that_vanishes_frees_all_it_held(server: Server, client: httpx.Client) -> None:
    async def session() -> None:
        async with live(server, "?temperature=0.5") as socket:
            await speak(socket, speech().tobytes() * 5)
            await asyncio.to_thread(wait_for, lambda: running_requests(client))
            socket.transport.abort()

    run(session())
    wait_for(lambda: not running_requests(client))


def test_who_sends_faster_than_it_can_be_heard_is_held_back_and_loses_nothing(
    server: Server,
) -> None:
    """Three times what the server holds."""
    minutes = np.tile(speech(), 3 * FULL // len(speech())).tobytes()

    async def session() -> None:
        async with live(server, "?temperature=0.5&partial=off") as socket:
            for at in range(0, len(minutes), MIB):
                await socket.send(minutes[at : at + MIB])
            await say(socket, "close")
            last, code = await ended(socket)
            assert last["type"] == "session.closed", last
            assert last["duration"] == pytest.approx(len(minutes) / 2 / RATE)
            assert code == 1000

    run(session())


def test_many_sessions_at_once(server: Server) -> None:
    async def one(number: int) -> str:
        async with live(server) as socket:
            await speak(socket, SILENCE * (1 + number % 3))
            await say(socket, "close")
            last, _ = await ended(socket)
            return str(last["type"])

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(one, range(24)))

    assert set(run(all_of_them())) <= {"session.closed"}


def test_the_server_says_why_it_goes(models: Path, tmp_path: Path) -> None:
    async def session(ending: Server) -> tuple[dict[str, Any], int | None]:
        async with live(ending) as socket:
            await until(socket, "session.created")
            ending.process.terminate()
            return await ended(socket)

    with running_server(tmp_path / "data", models, **ONE_THREAD) as ending:
        last, code = run(session(ending))
        assert (last["type"], last["error"]["code"]) == ("error", "shutting_down")
        assert code == 1001
        assert ending.process.wait(120) == 0
