"""How requests of a piecewise engine end, harmful words, full queues; what the server tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.asking import Background, ask_and_wait, load, output, refusal, running_requests
from tests.support.ends import plain_end, streamed_end
from tests.support.pieces_plugin import MOST_OPEN, PLUGINS, pieces_checkpoint
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for
from tests.support.spelling import (
    MODEL,
    cue,
    goes_on,
    nothing_is_open,
    spell,
    spelling,
    waiting_for_words,
)

MOST_WAITING = 6


@pytest.fixture(scope="module")
def load_cue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there must be something for the load of `unloadable` to fail."""
    return tmp_path_factory.mktemp("cues") / "unloadable"


@pytest.fixture(scope="module")
def server(load_cue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    pieces_checkpoint(folder / MODEL)
    pieces_checkpoint(folder / "unloadable", load_error=True, load_cue=str(load_cue))
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {"ONEBOX_MAX_QUEUE_PER_MODEL": str(MOST_WAITING)}
    with running_server(data_dir, folder, **PLUGINS, **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Whatever the test did, nothing is left of it in the worker."""
    with server.client() as client:
        yield client
        wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)
        nothing_is_open(client, MODEL)


@pytest.mark.parametrize("ask", [plain_end, streamed_end])
@pytest.mark.parametrize(
    ("word", "status", "code"),
    [
        ("refuse", 422, "invalid_value"),
        ("buggy", 500, "inference_failed"),
        ("bad", 422, "invalid_value"),
        ("poison", 500, "inference_failed"),
        ("rotten", 500, "inference_failed"),
        ("starving", 503, "insufficient_memory"),
    ],
)
def test_a_word_that_does_harm_ends_its_own_request_alone(
    client: httpx.Client,
    in_background: Background,
    tmp_path: Path,
    ask: object,
    word: str,
    status: int,
    code: str,
) -> None:
    path = cue(tmp_path)
    good = [
        waiting_for_words(in_background, client, f"good-{n}", path, words=["good"] * 3)
        for n in range(MOST_OPEN - 1)
    ]
    harmful = in_background(ask, client, "spell", model=MODEL, words=["a", word, "b"], cue=path)
    if word not in ("refuse", "buggy"):
        wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == MOST_OPEN)
    Path(path).touch()
    end = harmful.result(120)
    assert (end.status, end.code) == (status, code)
    assert [output(answer.result(120))["text"] for answer in good] == ["GOOD GOOD GOOD"] * 3


def test_input_that_turns_out_to_be_damaged_ends_the_request(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    body = {"damaged": True, "at_once": 1, "words": ["a", "b"]}
    asked = in_background(plain_end, client, "spell", model=MODEL, cue=path, **body)
    wait_for(lambda: [r["step"] for r in running_requests(client).values()] == [1])
    Path(path).touch()
    assert asked.result(120).code == "invalid_value"


def test_a_part_that_cannot_be_encoded_ends_the_request_and_its_computation(
    client: httpx.Client,
) -> None:
    words = ["a", "unsendable", *["long"] * 5000]
    with spelling(client, MODEL) as other:
        end = streamed_end(client, "spell", model=MODEL, words=words, stream=True, piece_s=0.01)
        assert (end.status, end.code) == (500, "inference_failed")
        # Else the other one would share its rounds with it for long.
        nothing_more = output(spell(client, MODEL, *["mine"] * 4))
        assert {word for words in nothing_more["with"] for word in words} <= {"mine", "long"}
        goes_on(other)


def test_memory_that_runs_out_is_tried_again_with_less(client: httpx.Client) -> None:
    told = output(spell(client, MODEL, "a", "hungry", "b"))
    assert (told["text"], told["lean"]) == ("A HUNGRY B", True)
    assert output(spell(client, MODEL, "a"))["lean"] is False


def test_requests_that_wait_for_their_first_word_count_as_waiting(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    waiting = [
        waiting_for_words(in_background, client, f"open-{n}", path) for n in range(MOST_OPEN)
    ]
    waiting += [
        ask_and_wait(in_background, client, f"q-{n}", task="spell", model=MODEL, words=["a"])
        for n in range(MOST_WAITING - MOST_OPEN)
    ]
    refused = spell(client, MODEL, "a")
    assert refusal(refused) == (429, "queue_full")
    details = refused.json()["error"]["details"]
    assert details == {"waiting": 6, "max": 6, "queue": f"model {MODEL}"}
    status = client.get("/v1/status").json()
    assert (status["running"]["count"], status["queue"]["waiting"]) == (6, 6)
    Path(path).touch()
    assert [answer.result(120).status_code for answer in waiting] == [200] * 6


def test_one_that_has_begun_runs_also_while_it_waits_for_words(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    asked = waiting_for_words(
        in_background, client, "begun", path, words=["a"] * 4, at_once=1, state="running"
    )
    status = client.get("/v1/status").json()
    assert (status["running"]["count"], status["queue"]["waiting"]) == (1, 0)
    # That it has the device is told before its first step is.
    wait_for(lambda: running_requests(client)["begun"]["step"] == 1)
    told = running_requests(client)["begun"]
    assert (told["state"], told["step"], told["steps"]) == ("running", 1, 4)
    # Who waits keeps no model in memory; what a worker tells may be a heartbeat old.
    wait_for(lambda: leases(client) == [0])
    Path(path).touch()
    assert asked.result(120).status_code == 200


def leases(client: httpx.Client) -> list[int]:
    (device,) = client.get("/v1/status").json()["devices"]
    return [bundle["leases"] for bundle in device["bundles"]]


def test_the_metrics_count_them(client: httpx.Client) -> None:
    def count(status: str) -> float:
        name = f'onebox_predictions_total{{model="{MODEL}",status="{status}",task="spell"}} '
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.removeprefix(name)) for line in lines if line.startswith(name))

    before = {status: count(status) for status in ("ok", "inference_failed")}
    spell(client, MODEL, "a")
    spell(client, MODEL, "poison")
    assert {status: count(status) - before[status] for status in before} == {
        "ok": 1,
        "inference_failed": 1,
    }


def test_a_model_is_loaded_by_request_while_all_places_are_taken(
    server: Server, client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    waiting = [
        waiting_for_words(in_background, client, f"open-{n}", path) for n in range(MOST_OPEN)
    ]
    waiting.append(ask_and_wait(in_background, client, "q", task="spell", model=MODEL, words=["a"]))
    with server.client(ADMIN_KEY) as admin:
        assert load(admin, MODEL).status_code == 200
    Path(path).touch()
    assert [answer.result(120).status_code for answer in waiting] == [200] * 5


def test_a_load_that_fails_ends_all_that_wait_for_it(
    client: httpx.Client, in_background: Background, load_cue: Path
) -> None:
    fields: dict[str, Any] = {"task": "spell", "model": "unloadable", "words": ["a"]}
    asked = [
        ask_and_wait(in_background, client, f"waits-{number}", state="loading", **fields)
        for number in range(3)
    ]
    load_cue.touch()
    answers = [answer.result(120) for answer in asked]
    assert [refusal(answer) for answer in answers] == [(500, "inference_failed")] * 3
    assert not any("secret" in answer.text for answer in answers)
