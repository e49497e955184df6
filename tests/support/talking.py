"""Conversations with tiny random language models, whose tokens are bytes (`byte_tokenizer`)."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from tests.support.asking import device_state, running_requests
from tests.support.server import API_KEY, Server, wait_for

CHAT = "/v1/chat/completions"
HELLO = [{"role": "user", "content": "Hello there"}]
# The ids of `byte_tokenizer` up to 255 are bytes; this one ends a turn.
END_OF_TURN = 258
# Tiny models gain nothing from threads that wait for each other.
ONE_THREAD = {"ONEBOX_THREADS": "1"}
# Keeps a random model from writing what is no letter of ASCII: it has 320 tokens.
ASCII_ONLY = {str(token): -100 for token in (*range(32), *range(127, 320))}


def body(**fields: Any) -> dict[str, Any]:
    """A request for sixteen tokens that a random model cannot end earlier."""
    return {
        "model": "llama",
        "messages": HELLO,
        "max_tokens": 16,
        "seed": 7,
        "ignore_eos": True,
        **fields,
    }


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(CHAT, json=body(**fields))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def content(client: httpx.Client, **fields: Any) -> str:
    """The text of the only choice."""
    (choice,) = ask(client, **fields)["choices"]
    return str(choice["message"]["content"])


def chunks_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The chunks of a stream, which must end as OpenAI's do."""
    last = None
    for line in lines:
        if line.startswith("data: "):
            last = line.removeprefix("data: ")
            if last != "[DONE]":
                yield json.loads(last)
    assert last == "[DONE]"


def stream(client: httpx.Client, path: str = CHAT, **fields: Any) -> list[dict[str, Any]]:
    with client.stream("POST", path, json={**fields, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        return list(chunks_of(answer.iter_lines()))


def joined(chunks: Iterable[dict[str, Any]], index: int = 0) -> str:
    """The text that the chunks of one choice add up to."""
    deltas = [
        choice["delta"] for c in chunks for choice in c["choices"] if choice["index"] == index
    ]
    return "".join(delta.get("content") or "" for delta in deltas)


@contextlib.contextmanager
def writing(client: httpx.Client, request_id: str, **fields: Any) -> Iterator[Iterator[str]]:
    """A stream of a text without end that has begun; its client leaves at the end of the body."""
    endless = body(max_tokens=4000, stream=True, **fields)
    headers = {"X-Request-ID": request_id}
    with client.stream("POST", CHAT, json=endless, headers=headers) as answer:
        lines = answer.iter_lines()
        for line in lines:
            if '"content":"' in line and '"content":""' not in line:
                break
        yield lines


@contextlib.contextmanager
def nobody_reads(server: Server, request_id: str, **fields: Any) -> Iterator[None]:
    """A request whose answer is never read; the connection is closed at the end of the body."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc)
    headers = {"Authorization": f"Bearer {API_KEY}", "X-Request-ID": request_id}
    connection.request("POST", CHAT, json.dumps(body(**fields)), headers)
    try:
        yield
    finally:
        connection.close()


def wait_until_idle(client: httpx.Client) -> None:
    """Nothing runs, and no model is held by anyone."""

    def idle() -> bool:
        bundles = device_state(client)["bundles"]
        return not running_requests(client) and not any(one["leases"] for one in bundles)

    wait_for(idle)


def refused(answer: httpx.Response) -> tuple[int, str | None, str]:
    """Status, field and code of an error."""
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]
