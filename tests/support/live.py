"""A client of live transcription, over a real socket, that sends faster than anyone speaks."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.listening import LIVE
from tests.support.server import API_KEY, Server

PATIENCE_S = 180.0
# A tenth of a second.
CHUNK_BYTES = 3200


@contextlib.asynccontextmanager
async def live(
    server: Server,
    query: str = "",
    *,
    key: str | None = API_KEY,
    subprotocols: Sequence[str] = (),
    **more: Any,
) -> AsyncIterator[ClientConnection]:
    """A session that has not said anything yet. Raises InvalidStatus for one that is refused."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = server.url.replace("http", "ws", 1) + LIVE + query
    async with connect(
        url,
        additional_headers=headers | more.pop("headers", {}),
        subprotocols=[Subprotocol(name) for name in subprotocols] or None,
        max_size=None,
        proxy=None,
        open_timeout=PATIENCE_S,
        # A server that does not read on answers no pings either.
        ping_interval=None,
        **more,
    ) as socket:
        yield socket


async def speak(socket: ClientConnection, samples: bytes) -> None:
    for at in range(0, len(samples), CHUNK_BYTES):
        await socket.send(samples[at : at + CHUNK_BYTES])


async def say(socket: ClientConnection, kind: str) -> None:
    await socket.send(json.dumps({"type": kind}))


async def until(socket: ClientConnection, *kinds: str) -> list[dict[str, Any]]:
    """All messages up to the first of these kinds."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not found or found[-1]["type"] not in kinds:
            found.append(json.loads(await socket.recv()))
    return found


async def ended(socket: ClientConnection) -> tuple[dict[str, Any], int | None]:
    """The last message, and the code that the server closes with."""
    last: dict[str, Any] = {}
    async with asyncio.timeout(PATIENCE_S):
        with contextlib.suppress(ConnectionClosed):
            while True:
                last = json.loads(await socket.recv())
        await socket.wait_closed()
    return last, socket.close_code


def text_of(messages: Sequence[dict[str, Any]]) -> str:
    """What became final."""
    return " ".join(one["text"] for one in messages if one["type"] == "transcript.final")
