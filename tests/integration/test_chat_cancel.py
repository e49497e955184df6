"""Every way to end a text before it is done, that it frees its place, and ends nobody else's."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.support.asking import Background, running_requests, wait_for_state
from tests.support.server import Server, wait_for
from tests.support.talking import (
    CHAT,
    ask,
    body,
    content,
    nobody_reads,
    refused,
    wait_until_idle,
    writing,
)

# As many as the server writes at the same time.
PLACES = 8
# Of a few prompts that are kept; eight answers take several times as much.
PROMPTS_BYTES = 256 * 1024
LONG = {"max_tokens": 4000}


@pytest.fixture(autouse=True)
def all_places_are_free_afterwards(chat: httpx.Client) -> Iterator[None]:
    yield
    wait_until_idle(chat)
    assert ask(chat, n=PLACES, max_tokens=2)["usage"]["completion_tokens"] == 2 * PLACES


def used_bytes(chat: httpx.Client) -> int:
    """What the model takes, its keys and values included."""
    (device,) = chat.get("/v1/status").json()["devices"]
    return sum(one["size_bytes"] for one in device["bundles"] if one["name"] == "llama")


def cancel(chat: httpx.Client, request_id: str) -> httpx.Response:
    return chat.post(f"/v1/requests/{request_id}/cancel")


def test_a_client_that_leaves_its_stream_frees_all_it_held(chat: httpx.Client) -> None:
    with writing(chat, "leaver", n=PLACES):
        assert running_requests(chat)["leaver"]["state"] == "running"
    wait_for(lambda: "leaver" not in running_requests(chat))
    # All places were taken, so this one has waited for it to go.
    assert len(content(chat, logit_bias={"65": 100})) == 16


def test_a_client_that_leaves_without_a_stream_does_too(
    chat_server: Server, chat: httpx.Client
) -> None:
    with nobody_reads(chat_server, "leaver", n=PLACES, **LONG):
        wait_for_state(chat, "leaver", "running")
    wait_for(lambda: "leaver" not in running_requests(chat))


def test_memory_comes_back_from_those_who_left(chat: httpx.Client) -> None:
    ask(chat)
    wait_until_idle(chat)
    before = wait_for(lambda: used_bytes(chat))
    with writing(chat, "leaver", n=PLACES, deterministic=True) as lines:
        for _ in zip(range(40 * PLACES), lines, strict=False):
            pass
        wait_for(lambda: used_bytes(chat) > before + 2 * PROMPTS_BYTES)
    wait_until_idle(chat)
    # Prompts may be kept; what was written deterministically is not.
    wait_for(lambda: used_bytes(chat) <= before + PROMPTS_BYTES)


@pytest.mark.parametrize("streaming", [False, True])
def test_one_that_waits_for_a_place_leaves(
    chat_server: Server, chat: httpx.Client, streaming: bool
) -> None:
    with writing(chat, "holder", n=PLACES) as lines:
        with nobody_reads(chat_server, "leaver", stream=streaming):
            wait_for_state(chat, "leaver", "queued")
        wait_for(lambda: "leaver" not in running_requests(chat))
        assert set(running_requests(chat)) == {"holder"}
        assert next(lines) is not None


def test_others_go_on_when_one_leaves(chat: httpx.Client, in_background: Background) -> None:
    fields = {"max_tokens": 200, "deterministic": True}
    alone = [content(chat, **fields, seed=seed) for seed in range(4)]
    with writing(chat, "leaver", seed=99):
        others = [in_background(content, chat, **fields, seed=seed) for seed in range(4)]
    assert [other.result(120) for other in others] == alone


def test_cancel_by_the_id_of_a_stream(chat: httpx.Client) -> None:
    with writing(chat, "streamer") as lines:
        assert cancel(chat, "streamer").json()["status"] == "cancelling"
        last = [line for line in lines if line][-1]
    error = json.loads(last.removeprefix("data: "))["error"]
    assert (error["code"], error["status"]) == ("cancelled", 499)


def test_cancel_by_the_id_of_one_that_waits_for_its_answer(
    chat: httpx.Client, in_background: Background
) -> None:
    named = {"X-Request-ID": "mine"}
    asked = in_background(chat.post, CHAT, json=body(**LONG), headers=named)
    wait_for_state(chat, "mine", "running")
    with writing(chat, "other") as lines:
        cancel(chat, "mine")
        assert refused(asked.result(120))[::2] == (499, "cancelled")
        assert asked.result().headers["x-should-retry"] == "false"
        assert next(lines) is not None
        assert set(running_requests(chat)) == {"other"}


def test_a_time_limit_ends_a_text_and_frees_its_place(chat: httpx.Client) -> None:
    answer = chat.post(CHAT, json=body(timeout_s=0.5, n=PLACES, **LONG))
    assert refused(answer)[::2] == (504, "deadline_exceeded")


def test_a_time_limit_ends_a_stream_with_an_error(chat: httpx.Client) -> None:
    # Nobody reads on, so it cannot end before; and it has begun long before.
    with writing(chat, "limited", n=PLACES, timeout_s=3) as lines:
        last = [line for line in lines if line][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "deadline_exceeded"


def test_a_time_limit_counts_the_wait_for_a_place(chat: httpx.Client) -> None:
    with writing(chat, "holder", n=PLACES):
        answer = chat.post(CHAT, json=body(timeout_s=0.2))
        assert refused(answer)[::2] == (504, "deadline_exceeded")
        assert set(running_requests(chat)) == {"holder"}
