"""Files that are sent while they are made."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from fastapi import Request

from onebox.api.streaming import PIECE_BYTES, ByteStream, LargeResponse
from onebox.core.errors import Cancelled, OutOfMemory, QueueFull
from tests.unit.api.asking import in_loop

END = {"type": "http.response.body", "body": b"", "more_body": False}


class Client:
    """Takes what is sent; leaves when `leaves` is set."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.leaves = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.leaves.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.messages[1:]]


async def serve(source, client, **headers: str) -> None:
    scope = {"type": "http", "method": "POST", "request_id": "r", "headers": []}
    response = ByteStream(source, Request(scope), media_type="audio/mpeg", headers=headers)
    await response(scope, client.receive, client.send)


@in_loop
async def test_each_chunk_goes_out_as_it_comes():
    client = Client()

    async def source():
        yield b"one"
        # The second is made only once the first is on its way.
        while len(client.messages) < 2:
            await asyncio.sleep(0)
        yield b"two"

    await serve(source(), client, X_Seed="7")
    start = client.messages[0]
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"] == b"audio/mpeg"
    assert (headers[b"x-accel-buffering"], headers[b"x_seed"]) == (b"no", b"7")
    assert b"content-length" not in headers
    assert client.bodies == [b"one", b"two", b""]
    assert client.messages[-1] == END


@pytest.mark.parametrize("error", [QueueFull("full"), Cancelled("by its client"), RuntimeError()])
def test_an_early_error_is_raised_before_anything_is_sent(error):
    @in_loop
    async def run() -> None:
        async def source():
            for _ in range(50):
                await asyncio.sleep(0)
            raise error
            yield

        client = Client()
        with pytest.raises(type(error)):
            await serve(source(), client)
        assert client.messages == []

    run()


@pytest.mark.parametrize("error", [OutOfMemory("no room"), Cancelled("by id"), RuntimeError("/x")])
def test_a_late_error_breaks_the_body_off(error):
    @in_loop
    async def run() -> None:
        async def source():
            yield b"one"
            raise error

        client = Client()
        await serve(source(), client)
        assert client.bodies == [b"one"]
        assert END not in client.messages

    run()


@in_loop
async def test_nothing_fills_a_silence():
    async def source():
        for _ in range(50):
            await asyncio.sleep(0)
        yield b"late"

    client = Client()
    await serve(source(), client)
    assert client.bodies == [b"late", b""]


@in_loop
async def test_a_source_without_bytes_is_an_empty_file():
    async def source():
        return
        yield

    client = Client()
    await serve(source(), client)
    assert client.messages[1:] == [END]


@in_loop
async def test_the_source_is_closed_when_the_client_leaves():
    closed = False

    async def source():
        nonlocal closed
        try:
            yield b"one"
            client.leaves.set()
            await asyncio.Future()
        finally:
            await asyncio.sleep(0)
            closed = True

    client = Client()
    await serve(source(), client)
    assert closed
    assert END not in client.messages
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@in_loop
async def test_a_client_that_leaves_before_the_first_byte_ends_the_source():
    closed = False

    async def source():
        nonlocal closed
        client.leaves.set()
        try:
            await asyncio.Future()
            yield
        finally:
            closed = True

    client = Client()
    await serve(source(), client)
    assert (closed, client.messages) == (True, [])


@in_loop
async def test_a_large_chunk_goes_out_in_pieces():
    client = Client()

    async def source():
        yield b"x" * (2 * PIECE_BYTES + 1)

    await serve(source(), client)
    assert list(map(len, client.bodies)) == [PIECE_BYTES, PIECE_BYTES, 1, 0]
    assert client.messages[-1] == END


@pytest.mark.parametrize(
    ("size", "pieces"),
    [(0, [0]), (5, [5]), (PIECE_BYTES, [PIECE_BYTES]), (PIECE_BYTES + 1, [PIECE_BYTES, 1])],
)
def test_a_large_answer_goes_out_in_pieces_and_tells_its_length(size, pieces):
    @in_loop
    async def run() -> None:
        client = Client()
        await LargeResponse(b"x" * size)({"type": "http"}, client.receive, client.send)
        assert list(map(len, client.bodies)) == pieces
        assert [message["more_body"] for message in client.messages[1:]] == [
            *[True] * (len(pieces) - 1),
            False,
        ]
        assert dict(client.messages[0]["headers"])[b"content-length"] == str(size).encode()

    run()
