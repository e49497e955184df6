"""Responses (`/v1/responses`) of a tiny random language model, which `talking` tells of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import httpx

from tests.support.asking import Event, events_of
from tests.support.server import wait_for

PATH = "/v1/responses"
ENDED = ("completed", "incomplete", "failed", "cancelled")
# Binds the answer to one text, so that it is complete.
SUNNY = {"type": "json_schema", "name": "weather", "schema": {"enum": ["a sunny day"]}}
SAID = '"a sunny day"'
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Ulm"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
ARGUMENTS = {"city": "Ulm"}
CREATED = ("response.created", "response.in_progress")
BEGUN = ("response.output_item.added", "response.content_part.added")
DELTA = "response.output_text.delta"
DONE = ("response.output_text.done", "response.content_part.done", "response.output_item.done")


def body(**fields: Any) -> dict[str, Any]:
    """A request for a complete answer of a few tokens."""
    return {"model": "llama", "input": "Hi", "text": {"format": SUNNY}, "seed": 7, **fields}


def free(**fields: Any) -> dict[str, Any]:
    """A request for 16 tokens of any text, which a random model cannot end earlier."""
    given = {"model": "llama", "input": "Hi", "seed": 7, "ignore_eos": True}
    return {**given, "max_output_tokens": 16, **fields}


def endless(**fields: Any) -> dict[str, Any]:
    """A request that takes seconds, and tells more than a connection holds: a stream of it waits
    for its reader.
    """
    told = {"include": ["message.output_text.logprobs"], "top_logprobs": 20}
    return free(max_output_tokens=4000, **told, **fields)


def create(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = client.post(PATH, json=body(**fields))
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def fetch(client: httpx.Client, response_id: str) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{response_id}")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def items(client: httpx.Client, response_id: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"{PATH}/{response_id}/input_items", params=query)
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def status_of(client: httpx.Client, response_id: str) -> str:
    return str(fetch(client, response_id)["status"])


def wait_until(client: httpx.Client, response_id: str, *statuses: str) -> dict[str, Any]:
    """The stored response, once its status is one of these."""
    wait_for(lambda: status_of(client, response_id) in statuses)
    return fetch(client, response_id)


def stream(client: httpx.Client, given: dict[str, Any]) -> list[Event]:
    with client.stream("POST", PATH, json={**given, "stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        return list(events_of(answer.iter_lines()))


@contextlib.contextmanager
def writing(client: httpx.Client, given: dict[str, Any]) -> Iterator[str]:
    """A stream that has begun to write; gives the id. Its client leaves at the end of the body."""
    with client.stream("POST", PATH, json={**given, "stream": True}) as answer:
        response_id = ""
        for event in events_of(answer.iter_lines()):
            if event.name == "response.created":
                response_id = event.data["response"]["id"]
            if event.name == DELTA and event.data["delta"]:
                break
        yield response_id


def said(response: dict[str, Any]) -> str:
    """The text of the only item of the output."""
    (item,) = response["output"]
    (part,) = item["content"]
    return str(part["text"])


def shown(listed: dict[str, Any]) -> list[tuple[str, str]]:
    """Of a page of messages: whose they are, and their texts."""
    return [(item["role"], item["content"][0]["text"]) for item in listed["data"]]
