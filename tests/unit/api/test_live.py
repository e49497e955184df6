"""`WS /v1/audio/transcriptions/live`: the messages and the ends of a session."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from fastapi import FastAPI

from onebox.api.app import create_app
from onebox.api.openai import live
from onebox.api.openai.live import MAX_MESSAGE_BYTES, PATH
from onebox.core.errors import InvalidInput, QueueFull, WorkerLost
from onebox.services.live_sessions import LiveSessions
from tests.unit.api.ears import SECOND, Ears, hearing, live_app
from tests.unit.api.sockets import connected, handshake


@pytest.fixture(scope="module")
def built(services):
    return live_app(services)


@pytest.fixture
def app(built):
    hearing(built)
    return built


def test_a_session(app):
    asyncio.run(session(app))


async def session(app):
    ears = hearing(app)
    query = f"{PATH}?model=w&language=German&prompt=Hm&partial=off&temperature=0.5"
    async with connected(app, query) as socket:
        assert (await socket.raw())["type"] == "websocket.accept"
        created = await socket.message()
        assert created["type"] == "session.created"
        assert created["session"].pop("id").startswith("live-")
        assert created["session"] == {
            "model": "tiny",
            "language": "de",
            "partial": False,
            "format": "pcm_s16le",
            "sampling_rate": 16000,
            "channels": 1,
        }
        socket.sound(SECOND)
        final = await socket.message()
        assert (final["type"], final["text"], final["start"]) == ("transcript.final", "Hi.", 0.0)
        socket.sound(SECOND[:16_000])
        socket.control("commit")
        assert (await socket.message())["text"] == "Hi."
        assert await socket.message() == {"type": "transcript.committed", "end": 1.5}
        socket.control("close")
        messages, code = await socket.until_closed()
    assert [message["type"] for message in messages] == ["transcript.committed", "session.closed"]
    assert (messages[1]["duration"], code) == (1.5, 1000)
    given = ears.inputs[0]
    assert (given.language, given.prompt, given.temperature) == ("de", "Hm", 0.5)
    assert set(ears.models) == {"w"}


async def ended_by(app: FastAPI, act: Any) -> tuple[list[dict[str, Any]], int]:
    """What is said after `act` did something with an open session."""
    async with connected(app, PATH) as socket:
        await socket.raw()
        await socket.message()
        act(socket)
        return await socket.until_closed()


def end(app: FastAPI, act: Any) -> tuple[dict[str, Any], int]:
    (message,), code = asyncio.run(ended_by(app, act))
    assert message["type"] == "error"
    return message["error"], code


@pytest.mark.parametrize(
    "text", ["", "commit", "{}", '{"type": "stop"}', '{"type": "close", "x": 1}', "[" * 9000]
)
def test_a_text_that_is_no_command_ends_it(app, text):
    error, code = end(app, lambda socket: socket.text(text))
    assert (error["param"], error["status"], code) == ("type", 400, 1008)
    assert error["request_id"]


def test_a_message_that_is_too_large_ends_it(app):
    error, code = end(app, lambda socket: socket.sound(bytes(MAX_MESSAGE_BYTES + 1)))
    assert (error["code"], code) == ("payload_too_large", 1009)


@pytest.mark.parametrize(
    ("failure", "name", "expected"),
    [
        (WorkerLost("gone"), "worker_lost", 1013),
        (InvalidInput("not this"), "invalid_value", 1008),
        (ValueError("a secret of the server"), "internal_error", 1011),
    ],
)
def test_an_error_is_told_and_ends_it(app, failure, name, expected):
    hearing(app, failure=failure)
    error, code = end(app, lambda socket: socket.sound(SECOND))
    assert (error["code"], code) == (name, expected)
    assert "secret" not in error["message"]


def test_a_queue_that_stays_full_is_told_at_a_commit(app):
    hearing(app, failure=QueueFull("full"))

    def act(socket):
        socket.sound(SECOND[:9600])
        socket.control("commit")

    error, code = end(app, act)
    assert (error["code"], code) == ("queue_full", 1013)


def test_silence_on_the_line_ends_it(app, monkeypatch):
    monkeypatch.setattr(live, "IDLE_S", 0)
    error, code = end(app, lambda socket: None)
    assert (error["code"], code) == ("deadline_exceeded", 1008)


def test_who_waits_for_an_answer_may_be_silent(app, monkeypatch):
    monkeypatch.setattr(live, "IDLE_S", 0.001)

    async def run() -> list[dict[str, Any]]:
        ears = hearing(app)
        ears.open.clear()
        async with connected(app, PATH) as socket:
            socket.sound(SECOND)
            socket.control("close")
            await ears.began.wait()
            await socket.raw()
            await socket.message()
            ears.open.set()
            return (await socket.until_closed())[0]

    assert [message["type"] for message in asyncio.run(run())][-1] == "session.closed"


def test_a_session_has_an_end(app, monkeypatch):
    monkeypatch.setattr(live, "SESSION_S", 0)
    error, code = end(app, lambda socket: None)
    assert (error["code"], code) == ("deadline_exceeded", 1008)


def test_a_client_that_leaves_cancels_what_runs(app):
    ears = hearing(app)
    ears.open.clear()

    async def run() -> None:
        async with connected(app, PATH) as socket:
            socket.sound(SECOND)
            await ears.began.wait()
            socket.leave()

    asyncio.run(run())
    assert ears.cancelled == 1
    assert len(app.state.services.live) == 0


def test_a_caller_has_so_many_sessions(app):
    async def run() -> None:
        async with connected(app, PATH) as one, connected(app, PATH) as two:
            assert [(await one.raw())["type"], (await two.raw())["type"]] == [
                "websocket.accept"
            ] * 2
            async with connected(app, PATH) as three:
                head, body = await three.raw(), await three.raw()
            assert (head["status"], json.loads(body["body"])["error"]["code"]) == (
                429,
                "concurrency_limit",
            )
            assert b"retry-after" in dict(head["headers"])
            one.leave()
            two.leave()

    asyncio.run(run())


def test_the_server_says_why_it_goes(services):
    ears = Ears()
    ears.open.clear()
    sessions = LiveSessions(max_per_caller=None)
    app = create_app(dataclasses.replace(services, inference=ears, live=sessions))

    async def run() -> tuple[list[dict[str, Any]], int]:
        async with connected(app, PATH) as socket:
            socket.sound(SECOND)
            await ears.began.wait()
            await sessions.close()
            assert len(sessions) == 0
            await socket.raw()
            await socket.message()
            return await socket.until_closed()

    (message,), code = asyncio.run(run())
    assert (message["error"]["code"], code) == ("shutting_down", 1001)
    assert ears.cancelled == 1
    assert handshake(app, PATH)[0] == 503
