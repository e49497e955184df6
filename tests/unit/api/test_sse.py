from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest
from fastapi import Request

from onebox.api.app import create_app
from onebox.api.sse import PING, EventStream, error_event, event, plain
from onebox.core.errors import Cancelled, OutOfMemory, QueueFull
from tests.unit.api.asking import NO_ANSWER, USER, ask, in_loop

SOON = 0.001
LONG = 1000.0


class Client:
    """Takes what is sent; leaves when `leaves` is set."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.leaves = asyncio.Event()
        self.pings = 0
        self.on_ping = lambda: None

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)
        if message.get("body") == PING:
            self.pings += 1
            self.on_ping()

    @property
    def events(self) -> list[bytes]:
        body = b"".join(message.get("body", b"") for message in self.messages)
        return [
            part + b"\n\n" for part in body.split(b"\n\n") if part and not part.startswith(b":")
        ]


async def serve(source, client, *, ping_s=LONG, head_s=LONG, failed=error_event):
    scope = {"type": "http", "method": "POST", "request_id": "r", "headers": []}
    response = EventStream(source, Request(scope), failed=failed, ping_s=ping_s, head_s=head_s)
    await response(scope, client.receive, client.send)


def numbered(n: int) -> bytes:
    return event("progress", {"step": n})


def test_an_event():
    assert event("delta", {"text": "a\nb"}) == b'event: delta\ndata: {"text":"a\\nb"}\n\n'


def test_an_event_without_a_name():
    assert plain({"text": "a\nb✓"}) == 'data: {"text":"a\\nb✓"}\n\n'.encode()


@in_loop
async def test_a_late_error_among_events_without_names_has_none():
    async def source():
        yield plain({"text": "a"})
        raise OutOfMemory("no room")

    client = Client()
    await serve(source(), client, failed=plain)
    last = client.events[-1]
    assert last.startswith(b'data: {"error":{"message":"no room"')


@in_loop
async def test_a_ping_comes_first_and_no_proxy_may_wait():
    async def source():
        yield numbered(1)

    client = Client()
    await serve(source(), client)
    start, first, *_ = client.messages
    headers = dict(start["headers"])
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert first["body"] == PING
    assert client.events == [numbered(1)]
    assert client.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@in_loop
async def test_pings_fill_a_silence_and_cost_no_event():
    spoken = asyncio.Event()

    async def source():
        for n in range(5):
            await spoken.wait()
            spoken.clear()
            yield numbered(n)

    client = Client()

    def on_ping() -> None:
        if client.pings % 3 == 0:
            spoken.set()

    client.on_ping = on_ping
    await serve(source(), client, ping_s=SOON, head_s=SOON)
    assert client.events == [numbered(n) for n in range(5)]
    assert client.pings >= 15


@in_loop
async def test_a_ping_that_is_due_with_every_event_costs_none():
    async def source():
        for n in range(200):
            for _ in range(n % 4):
                await asyncio.sleep(0)
            yield numbered(n)

    client = Client()
    await serve(source(), client, ping_s=0, head_s=0)
    assert client.events == [numbered(n) for n in range(200)]


@in_loop
async def test_the_source_is_closed_when_the_client_leaves():
    closed = False

    async def source():
        nonlocal closed
        try:
            yield numbered(1)
            client.leaves.set()
            await asyncio.Future()
        finally:
            await asyncio.sleep(0)
            closed = True

    client = Client()
    await serve(source(), client)
    assert closed
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_the_source_is_closed_though_the_client_reads_nothing_any_more():
    made, closed = 0, False

    async def source():
        nonlocal made, closed
        try:
            while True:
                made += 1
                yield numbered(made)
        finally:
            closed = True

    client = Client()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            for _ in range(20):
                await asyncio.sleep(0)
            client.leaves.set()
            await asyncio.Future()

    client.send = send
    await serve(source(), client)
    assert closed
    assert made <= 3


@in_loop
async def test_a_late_error_is_the_last_event():
    async def source():
        yield numbered(1)
        raise OutOfMemory("no room", retry_after_s=3)

    client = Client()
    await serve(source(), client)
    first, last = client.events
    assert first == numbered(1)
    assert last.startswith(b"event: error\n")
    error = json.loads(last.split(b"data: ")[1])["error"]
    assert (error["code"], error["status"], error["request_id"]) == (
        "insufficient_memory",
        503,
        "r",
    )
    assert client.messages[-1]["more_body"] is False


@in_loop
async def test_a_late_bug_is_told_without_its_text():
    async def source():
        yield numbered(1)
        raise RuntimeError("/secret/path")

    client = Client()
    await serve(source(), client)
    error = json.loads(client.events[-1].split(b"data: ")[1])["error"]
    assert error["code"] == "internal_error"
    assert b"secret" not in client.events[-1]


@pytest.mark.parametrize("error", [QueueFull("full"), Cancelled("by its client"), RuntimeError()])
def test_an_early_error_is_raised_before_anything_is_sent(error):
    @in_loop
    async def run() -> None:
        async def source():
            await asyncio.sleep(0)
            raise error
            yield

        client = Client()
        with pytest.raises(type(error)):
            await serve(source(), client)
        assert client.messages == []

    run()


@in_loop
async def test_a_source_without_events_is_an_empty_stream():
    async def source():
        return
        yield

    client = Client()
    await serve(source(), client)
    assert client.events == []
    assert client.messages[-1]["more_body"] is False


class Inference:
    """Prepares anything; streams what it is given."""

    def __init__(self, stream) -> None:
        self.stream = stream

    async def prepare(self, *args: Any, **kwargs: Any) -> str:
        return "prepared"


def test_a_full_queue_is_429_for_streams_too(services):
    async def stream(prepared):
        raise QueueFull("full", retry_after_s=2.5)
        yield

    app = create_app(dataclasses.replace(services, inference=Inference(stream)))
    headers = {**USER, "accept": "text/event-stream"}
    answer = ask(app, "POST", "/v1/tasks/text-to-image", headers, b'{"prompt": "x"}')
    assert (answer.status, answer.error["code"]) == (429, "queue_full")
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("3", "2500")


def test_a_streaming_client_that_leaves_ends_the_request(services):
    leaves, ended = asyncio.Event(), False

    async def stream(prepared):
        nonlocal ended
        leaves.set()
        try:
            await asyncio.Future()
            yield
        finally:
            ended = True

    app = create_app(dataclasses.replace(services, inference=Inference(stream)))
    headers = {**USER, "accept": "text/event-stream"}
    answer = ask(app, "POST", "/v1/tasks/text-to-image", headers, b'{"prompt": "x"}', leaves=leaves)
    assert ended
    assert answer.status == NO_ANSWER
