"""Chat models are loaded, unloaded, dropped in and taken away while others are asked."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.families.tiny_language_models import attentive, save
from tests.support.asking import (
    EVENTS,
    Background,
    device_state,
    events_of,
    load,
    refusal,
    unload,
    wait_for_state,
)
from tests.support.server import ADMIN_KEY, Server, wait_for
from tests.support.talking import CHAT, HELLO, ask, body, chunks_of, content, joined

STOPS = hasattr(signal, "SIGSTOP")


@pytest.fixture
def chief(chat_server: Server) -> Iterator[httpx.Client]:
    with chat_server.client(ADMIN_KEY) as client:
        yield client


def loaded(chat: httpx.Client) -> set[str]:
    return {one["name"] for one in device_state(chat)["bundles"] if one["state"] == "ready"}


def test_a_model_is_loaded_and_unloaded_by_request(chief: httpx.Client, chat: httpx.Client) -> None:
    unload(chief, "gpt2")
    told = load(chief, "gpt2").json()
    assert told["status"] == "loaded"
    assert told["loaded_bytes"] > 0
    wait_for(lambda: "gpt2" in loaded(chat))
    assert load(chief, "gpt2").json()["load_s"] == 0
    assert content(chat, model="gpt2")
    assert unload(chief, "gpt2").json()["was_loaded"] is True
    wait_for(lambda: "gpt2" not in loaded(chat))
    assert content(chat, model="gpt2")


def test_a_load_tells_how_far_it_is(chief: httpx.Client) -> None:
    unload(chief, "gpt2")
    events = list(events_of(load(chief, "gpt2", headers=EVENTS).text.splitlines()))
    assert events[-1].name == "loaded"
    assert {event.name for event in events[:-1]} == {"loading"}


def test_a_request_that_loads_its_model_is_told_of_it(
    chief: httpx.Client, chat: httpx.Client
) -> None:
    unload(chief, "gpt2")
    asked = {"model": "gpt2", "messages": HELLO, "max_tokens": 3}
    answer = chat.post("/v1/tasks/chat", json=asked, headers=EVENTS)
    names = [event.name for event in events_of(answer.text.splitlines())]
    assert names[0] == "loading"
    assert names[-1] == "result"


@pytest.mark.skipif(not STOPS, reason="processes cannot be stopped here")
def test_a_stream_hears_a_comment_while_its_model_is_not_loaded(
    chat_server: Server, chief: httpx.Client, chat: httpx.Client
) -> None:
    """As if the load took long: nothing comes of a worker that was stopped."""
    expected = content(chat, deterministic=True)
    unload(chief, "llama")
    worker = chat_server.worker()
    os.kill(worker.pid, signal.SIGSTOP)
    try:
        with chat.stream("POST", CHAT, json=body(stream=True, deterministic=True)) as answer:
            assert answer.status_code == 200
            lines = answer.iter_lines()
            assert next(lines) == ": ping"
            assert chat.get("/health").status_code == 200
            os.kill(worker.pid, signal.SIGCONT)
            assert joined(chunks_of(lines)) == expected
    finally:
        os.kill(worker.pid, signal.SIGCONT)


def test_many_first_requests_are_answered_after_one_load(
    chat_server: Server, chief: httpx.Client, chat: httpx.Client, in_background: Background
) -> None:
    unload(chief, "gpt2")
    wait_for(lambda: "gpt2" not in loaded(chat))
    before = loads_of(chat_server, "gpt2")
    asked = [in_background(content, chat, model="gpt2", temperature=0) for _ in range(8)]
    assert len({one.result(120) for one in asked}) == 1
    assert loads_of(chat_server, "gpt2") == before + 1


def test_a_model_in_use_is_unloaded_by_force_alone(
    chief: httpx.Client, chat: httpx.Client, in_background: Background
) -> None:
    # This kind of model is computed text by text, so that it takes long enough.
    named = {"X-Request-ID": "slow"}
    asked = body(model="mamba", n=8, max_tokens=4000)
    slow = in_background(chat.post, CHAT, json=asked, headers=named)
    wait_for_state(chat, "slow", "running")
    assert refusal(unload(chief, "mamba")) == (409, "model_busy")
    assert unload(chief, "mamba", json={"force": True}).json()["was_loaded"] is True
    assert refusal(slow.result(120)) == (503, "model_unloaded")
    assert content(chat, model="mamba")


def test_a_model_that_is_asked_all_the_time_is_unloaded_between_two_texts(
    chief: httpx.Client, chat: httpx.Client, in_background: Background
) -> None:
    """Who comes after the unload waits for it to end, and has the model loaded again."""
    unloaded = threading.Event()
    answered: list[int] = []

    def keep_asking() -> None:
        while not unloaded.is_set():
            answered.append(chat.post(CHAT, json=body(max_tokens=40)).status_code)

    asking = [in_background(keep_asking) for _ in range(4)]
    try:
        wait_for(lambda: len(answered) > 8)
        answer = unload(chief, "llama")
    finally:
        unloaded.set()
        for one in asking:
            one.result(120)
    assert answer.status_code == 200, answer.text
    assert answer.json()["was_loaded"] is True
    assert set(answered) == {200}


def test_a_model_dropped_into_the_folder_is_served_and_one_taken_away_is_not(
    chat: httpx.Client, talkers: Path, tmp_path: Path
) -> None:
    def listed() -> bool:
        return "late" in [one["id"] for one in chat.get("/v1/models").json()["data"]]

    save(tmp_path / "late", attentive("qwen3"), 3).rename(talkers / "late")
    try:
        wait_for(listed)
        told = wait_for(lambda: chat.get("/v1/models/late").json())
        assert set(told["tasks"]) == {"chat", "completion", "tokenize", "detokenize"}
        assert ask(chat, model="late")["model"] == "late"
    finally:
        shutil.rmtree(talkers / "late")
    wait_for(lambda: not listed())
    wait_for(lambda: "late" not in loaded(chat))
    assert chat.post(CHAT, json=body(model="late")).status_code == 404


def loads_of(server: Server, name: str) -> int:
    return sum('"event":"loaded"' in line and f'"model":"{name}"' in line for line in server.log())
