"""Requests that are computed piece by piece, in the whole server: who goes first, who leaves."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.asking import (
    EVENTS,
    Background,
    ask_and_wait,
    events_of,
    nobody_waits,
    output,
    refusal,
    running_requests,
    wait_for_state,
)
from tests.support.ends import plain_end, streamed_end
from tests.support.pieces_plugin import END, MOST_OPEN, PLUGINS, pieces_checkpoint
from tests.support.server import Server, running_server, wait_for
from tests.support.spelling import (
    FOREVER,
    MODEL,
    cue,
    goes_on,
    nothing_is_open,
    open_pieces,
    sent,
    spell,
    spelling,
    waiting_for_words,
)

ANNA, BERT = "test-key-infer", "key-of-bert"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    pieces_checkpoint(folder / MODEL)
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {"API_KEYS": f"{ANNA},{BERT}", "ONEBOX_SHUTDOWN_GRACE": "0"}
    with running_server(data_dir, folder, **PLUGINS, **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Anna's. Whatever the test did, nothing is left of it in the worker."""
    with server.client(ANNA) as client:
        yield client
        wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)
        nothing_is_open(client, MODEL)
        wait_for(lambda: not list((server.data_dir / "spool").iterdir()))


@pytest.fixture
def bert(server: Server) -> Iterator[httpx.Client]:
    with server.client(BERT) as client:
        yield client


def test_a_short_request_that_comes_later_does_not_wait_for_a_long_one(
    client: httpx.Client, bert: httpx.Client
) -> None:
    for other in (client, bert):
        with spelling(client, MODEL) as long:
            assert output(spell(other, MODEL, "a", "b"))["text"] == "A B"
            goes_on(long)


def test_words_of_many_requests_are_computed_together(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    asked = [
        waiting_for_words(
            in_background, client, f"many-{n}", path, words=[f"{n}"] * 40, piece_s=0.005
        )
        for n in range(MOST_OPEN)
    ]
    Path(path).touch()
    told = [output(answer.result(120)) for answer in asked]
    assert [one["text"] for one in told] == [" ".join([f"{n}"] * 40) for n in range(MOST_OPEN)]
    rounds = [words for one in told for words in one["with"]]
    assert max(len(set(words)) for words in rounds) == MOST_OPEN


def test_words_of_other_kinds_are_not(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    asked = [
        waiting_for_words(in_background, client, f"kind-{kind}", path, words=[kind], kind=kind)
        for kind in "xy"
    ]
    Path(path).touch()
    assert [output(answer.result(120))["with"] for answer in asked] == [[["x"]], [["y"]]]


def test_a_caller_with_many_requests_leaves_others_their_share(
    client: httpx.Client, bert: httpx.Client
) -> None:
    with contextlib.ExitStack() as held:
        # None of them can be computed with another one.
        crowd = [
            held.enter_context(spelling(client, MODEL, kind=kind, piece_s=0.01)) for kind in "abc"
        ]
        told = output(spell(bert, MODEL, *["mine"] * 40, kind="d", piece_s=0.01))
        # Theirs together are as many as his; it would be three times as many if each of hers was
        # worth as much as his one.
        assert told["others"] < 80
        goes_on(crowd[0])


def test_the_more_urgent_goes_first(client: httpx.Client, bert: httpx.Client) -> None:
    with spelling(client, MODEL, priority="batch") as batch:
        told = output(spell(bert, MODEL, *["soon"] * 20, priority="interactive"))
        assert {word for words in told["with"] for word in words} == {"soon"}
        goes_on(batch)


def test_the_more_urgent_gets_a_place_when_all_are_taken(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    waiting = [
        waiting_for_words(in_background, client, f"batch-{n}", path, priority="batch")
        for n in range(MOST_OPEN)
    ]
    queued = ask_and_wait(
        in_background, client, "queued", task="spell", model=MODEL, words=["a"], priority="batch"
    )
    assert output(spell(client, MODEL, "urgent"))["text"] == "URGENT"
    assert running_requests(client)["queued"]["state"] == "queued"
    Path(path).touch()
    assert [answer.result(120).status_code for answer in (*waiting, queued)] == [200] * 5


def leave(
    server: Server, client: httpx.Client, in_background: Background, state: str, body: Any
) -> None:
    with nobody_waits(server, "spell", "gone", **body):
        wait_for_state(client, "gone", state)


def cancel(
    server: Server, client: httpx.Client, in_background: Background, state: str, body: Any
) -> None:
    asked = in_background(plain_end, client, "spell", request_id="gone", **body)
    wait_for_state(client, "gone", state)
    assert client.post("/v1/requests/gone/cancel").status_code == 200
    end = asked.result(120)
    assert (end.status, end.code) == (499, "cancelled")


def run_out_of_time(
    server: Server, client: httpx.Client, in_background: Background, state: str, body: Any
) -> None:
    end = plain_end(client, "spell", request_id="gone", timeout_s=0.5, **body)
    assert (end.status, end.code) == (504, "deadline_exceeded")


@pytest.mark.parametrize("way", [leave, cancel, run_out_of_time])
@pytest.mark.parametrize("place", ["in the queue", "waiting for words", "computed", "between"])
def test_one_that_goes_is_dropped_wherever_it_is(
    server: Server,
    client: httpx.Client,
    in_background: Background,
    tmp_path: Path,
    way: Callable[..., None],
    place: str,
) -> None:
    never = cue(tmp_path, "never")
    body, state, others = {
        "in the queue": ({"words": ["gone"]}, "queued", MOST_OPEN),
        "waiting for words": ({"words": ["gone"], "cue": never}, "queued", 1),
        "computed": (FOREVER, "running", 1),
        "between": ({"words": ["gone"] * 2, "cue": never, "at_once": 1}, "running", 1),
    }[place]
    path = cue(tmp_path)
    waiting = [waiting_for_words(in_background, client, f"other-{n}", path) for n in range(others)]
    way(server, client, in_background, state, {"model": MODEL, **body})
    wait_for(lambda: "gone" not in running_requests(client))
    wait_for(lambda: open_pieces(client, MODEL) == {"open": others, "threads": others})
    Path(path).touch()
    assert [output(answer.result(120))["text"] for answer in waiting] == ["LATE"] * others


def test_one_that_is_cancelled_while_it_is_prepared_is_closed(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path, words = cue(tmp_path), ["a"]
    asked = ask_and_wait(
        in_background, client, "gone", task="spell", model=MODEL, words=words, prepare_cue=path
    )
    assert client.post("/v1/requests/gone/cancel").status_code == 200
    assert refusal(asked.result(120)) == (499, "cancelled")
    Path(path).touch()


def test_parts_come_in_order_and_complete(client: httpx.Client, in_background: Background) -> None:
    def streamed(name: str) -> tuple[str, bytes, str]:
        words = [f"{name}{n}" for n in range(50)]
        body = {"model": MODEL, "words": words, "stream": True, "pad": 1000}
        answer = client.post("/v1/tasks/spell", headers=EVENTS, json=body)
        *told, end = events_of(answer.text.splitlines())
        wanted = " ".join(word + "." * 1000 for word in words).upper()
        return end.name, sent(told), wanted

    for asked in [in_background(streamed, name) for name in "abcd"]:
        end, parts, wanted = asked.result(120)
        assert end == "result"
        assert parts == wanted.encode() + b" " + END


def test_nothing_comes_after_a_cancel(client: httpx.Client) -> None:
    with spelling(client, MODEL, stream=True, request_id="gone") as running:
        wait_for(lambda: sent(list(running.events)))
        assert client.post("/v1/requests/gone/cancel").status_code == 200
        end = running.end()
    assert (end.name, end.data["error"]["code"]) == ("error", "cancelled")
    assert END not in sent(running.events)
    assert [event.name for event in running.events].count("error") == 1


def test_progress_is_told(client: httpx.Client) -> None:
    body = {"model": MODEL, "words": ["a"] * 9}
    events = events_of(client.post("/v1/tasks/spell", headers=EVENTS, json=body).text.splitlines())
    told = [event.data for event in events if event.name == "progress"]
    assert told == [{"step": n, "steps": 9} for n in range(1, 10)]


def test_a_request_without_words_has_a_result(client: httpx.Client) -> None:
    assert output(spell(client, MODEL))["text"] == ""
    assert streamed_end(client, "spell", model=MODEL, words=[]).code == "ok"
