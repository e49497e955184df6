"""Speech over time: when it leaves, whom it waits for, and what becomes of it when something goes
wrong on the way. The voice waits where the test wants it to.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.families import tiny_voices
from tests.support.asking import (
    Background,
    load,
    running_requests,
    unload,
)
from tests.support.ends import wait_until_ready
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for
from tests.support.speaking import SPEECH, speech, speech_body
from tests.support.talking import ONE_THREAD
from tests.support.voice_plugin import SENTENCE_S, gated_voice, let_go, spoken, waits

GATES = ("order", "left", "fair", "killed", "unloaded", "slow")
CROWD = 19
SENTENCES = [f"This is sentence number {letter} of ten." for letter in "bcdefghij"]


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gates")
    for name in GATES:
        gated_voice(folder / name, name)
    tiny_voices.vits(folder / "tiny")
    return folder


@pytest.fixture(scope="module")
def server(gates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    plugin = {"ONEBOX_PLUGINS": "tests.support.voice_plugin"}
    with running_server(data_dir, gates, **ONE_THREAD, **plugin) as running:
        yield running


@pytest.fixture
def chief(server: Server) -> Iterator[httpx.Client]:
    with server.client(ADMIN_KEY) as client:
        yield client


@contextlib.contextmanager
def heard(
    client: httpx.Client, model: str, request_id: str, text: str, **fields: Any
) -> Iterator[httpx.Response]:
    """An answer of which nothing was read yet."""
    headers = {"X-Request-ID": request_id}
    body = speech_body(text, model=model, response_format="pcm", **fields)
    with client.stream("POST", SPEECH, json=body, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        yield answer


def waiting(first: str = "This sentence comes first.") -> str:
    """Ten sentences, the second of which waits."""
    return " ".join([first, "wait here, I said, for the others.", *SENTENCES])


def depth(client: httpx.Client) -> float:
    """How many wait at the worker."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("onebox_queue_depth{"))


def test_the_first_sentence_is_heard_before_the_second_is_computed(
    client: httpx.Client, gates: Path
) -> None:
    folder = gates / "order"
    with heard(client, "order", "order", waiting()) as answer:
        parts = answer.iter_raw()
        first = next(parts)
        # All of it but the resampler's last fraction; the second waits until this was seen.
        assert len(first) > 0
        assert len(spoken(folder)) == 1
        let_go(folder)
        whole = first + b"".join(parts)
    assert len(spoken(folder)) == 11
    pauses_s = 0.25 * 10
    assert len(whole) / 48_000 == pytest.approx(11 * SENTENCE_S + pauses_s, abs=0.01)


def test_nothing_runs_on_for_a_client_that_left(
    client: httpx.Client, chief: httpx.Client, gates: Path
) -> None:
    folder = gates / "left"
    with heard(client, "left", "left", waiting()) as answer:
        parts = answer.iter_raw()
        next(parts)
        wait_for(lambda: len(spoken(folder)) == 1 and "left" in running_requests(client))
    wait_for(lambda: "left" not in running_requests(client))
    # The worker answers this only once it has heard all that it was told before.
    assert unload(chief, "tiny").status_code == 200
    let_go(folder)
    # What is asked afterwards is spoken, and of what was asked before it at most the sentence that
    # was being spoken.
    speech(client, "Somebody else speaks.", model="left")
    order = [line.split()[0] for line in spoken(folder)]
    assert (order[0], order[-1]) == ("This", "Somebody")
    assert len(order) <= 3


def test_twenty_have_their_turn_while_a_long_text_is_spoken(
    client: httpx.Client, gates: Path, in_background: Background
) -> None:
    folder = gates / "fair"
    long = in_background(speech, client, waiting(), model="fair", response_format="pcm")
    wait_for(lambda: waits(folder))
    crowd = []
    for number in range(CROWD):
        body = speech_body(f"Short one {'abcdefghijklmnopqrstuvwxyz'[number]}.", model="fair")
        name = f"short-{number}"
        crowd.append(in_background(client.post, SPEECH, json=body, headers={"X-Request-ID": name}))
    # All of them are in the queue of the worker's engine.
    wait_for(lambda: depth(client) == CROWD)
    let_go(folder)
    assert all(asked.result(120).status_code == 200 for asked in crowd)
    assert long.result(120)
    order = [line.split()[0] for line in spoken(folder)]
    assert order.count("Short") == CROWD
    # The long text's last sentences come after every short one.
    assert order[-1] == "This"
    assert "Short" not in order[-3:]


def test_a_worker_that_dies_breaks_the_sound_off_and_one_seed_is_one_sound_in_the_next(
    server: Server, client: httpx.Client, gates: Path
) -> None:
    before = speech(client, "Hello there, you.", response_format="pcm")
    with heard(client, "killed", "killed", waiting()) as answer:
        parts = answer.iter_raw()
        next(parts)
        server.worker().kill()
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            list(parts)
    wait_until_ready(client)
    assert speech(client, "Hello there, you.", response_format="pcm") == before


def test_events_that_break_off_say_why(client: httpx.Client, chief: httpx.Client) -> None:
    with heard(client, "unloaded", "events", waiting(), stream_format="sse") as answer:
        lines = answer.iter_lines()
        first = next(line for line in lines if line.startswith("data: "))
        assert json.loads(first[6:])["type"] == "speech.audio.delta"
        assert unload(chief, "unloaded", json={"force": True}).status_code == 200
        told = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
    assert "speech.audio.done" not in [event.get("type") for event in told]
    assert told[-1]["error"]["message"]
    assert load(chief, "unloaded").status_code == 200


def test_a_model_unloaded_by_force_breaks_the_sound_off(
    client: httpx.Client, chief: httpx.Client
) -> None:
    with heard(client, "unloaded", "forced", waiting()) as answer:
        parts = answer.iter_raw()
        next(parts)
        assert unload(chief, "unloaded", json={"force": True}).status_code == 200
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            list(parts)
    wait_for(lambda: "forced" not in running_requests(client))


def test_a_reader_that_reads_late_gets_all_of_it(client: httpx.Client, gates: Path) -> None:
    folder = gates / "slow"
    let_go(folder)
    with heard(client, "slow", "slow", waiting()) as answer:
        # Spoken to its end and forgotten by the worker, though nobody has read a byte.
        wait_for(lambda: len(spoken(folder)) == 11)
        wait_for(lambda: "slow" not in running_requests(client))
        whole = b"".join(answer.iter_raw())
    assert len(whole) / 2 / 24_000 > 11 * SENTENCE_S
