"""The worker dies, the server stops, clients of all kinds come and go: nothing is left of them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.asking import (
    EVENTS,
    Background,
    device_state,
    events_of,
    nobody_waits,
    output,
    running_requests,
)
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.ends import OK, End, in_background, plain_end, streamed_end, wait_until_ready
from tests.support.pieces_plugin import END, MOST_OPEN, PLUGINS, pieces_checkpoint
from tests.support.server import Server, has_ended, running_server, wait_for
from tests.support.spelling import FOREVER, MODEL, cue, nothing_is_open, open_pieces, sent, spell

REQUESTS = 200
SEED = 5
BOUND_S = 120.0
MIB = 1024 * 1024
HARMFUL = ("poison", "bad", "rotten", "starving", "refuse")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The last test stops it."""
    models = tmp_path_factory.mktemp("models")
    for name in (MODEL, "other"):
        pieces_checkpoint(models / name, resident_bytes=60 * MIB, called=name)
    dummy_checkpoint(models / "plain", resident_bytes=30 * MIB)
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {
        "ONEBOX_MEMORY_BUDGET": "100MiB",
        "ONEBOX_LEASE_TIMEOUT": "20",
        "ONEBOX_SHUTDOWN_GRACE": "8",
    }
    with running_server(data_dir, models, **PLUGINS, **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        wait_until_ready(client)
        yield client


@pytest.fixture
def background() -> Iterator[Background]:
    with in_background() as submit:
        yield submit


def ask_everywhere(
    client: httpx.Client, background: Background, folder: Path, *, open_already: int = 0
) -> list[Future[End]]:
    """Requests in all the places where one can be; none of them would ever end."""
    words = {"words": ["a", "b"], "cue": cue(folder, "never")}
    waiting = [words] * (MOST_OPEN - 2 - open_already)
    queued = {**words, "priority": "batch"}
    bodies: list[dict[str, Any]] = [FOREVER, {**words, "at_once": 1}, *waiting, queued]
    asked = [
        background(end, client, "spell", model=MODEL, **body)
        for end, body in zip(cycle([streamed_end, plain_end]), bodies, strict=False)
    ]

    def counts() -> tuple[int, int]:
        status = client.get("/v1/status").json()
        return status["running"]["count"], status["queue"]["waiting"]

    wait_for(lambda: counts() == (len(asked) + open_already, len(waiting) + 1))
    return asked


def test_a_worker_that_dies_in_a_round_costs_each_open_request_one_503(
    server: Server, client: httpx.Client, background: Background, tmp_path: Path
) -> None:
    asked = ask_everywhere(client, background, tmp_path)
    server.worker().kill()
    ends = [end.result(BOUND_S) for end in asked]
    assert {(end.status, end.code) for end in ends} == {(503, "worker_lost")}
    assert all("SIGKILL" in end.message for end in ends)
    # A stream whose head has gone out has none left to say it in.
    assert all(int(end.retry_after or 0) >= 1 for end in ends[1::2])
    assert all(int(end.retry_after or 1) >= 1 for end in ends[::2])
    # Asked at once, it waits for the next worker.
    assert output(spell(client, MODEL, "a"))["text"] == "A"
    assert open_pieces(client, MODEL) == {"open": 0, "threads": 0}
    wait_for(lambda: not list((server.data_dir / "spool").iterdir()))


def test_a_client_that_does_not_read_keeps_nobody_waiting(
    server: Server, client: httpx.Client
) -> None:
    body = {"model": MODEL, "words": ["a"] * 300, "stream": True, "pad": 50_000}
    with nobody_waits(server, "spell", "reads-nothing", streaming=True, **body):
        assert output(spell(client, MODEL, "a"))["text"] == "A"
        # The worker is done with it long before anybody has read it.
        nothing_is_open(client, MODEL)
        assert list(running_requests(client)) == ["reads-nothing"]
    wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)


def body_of(chance: random.Random, cues: Path) -> dict[str, Any]:
    """Short and long, whole and streamed, at once and later, sound and harmful, on two models that
    do not fit together.
    """
    words = [f"w{n}" for n in range(chance.choice([0, 1, 3, 20]))]
    if chance.random() < 0.2:
        words.insert(chance.randint(0, len(words)), chance.choice(HARMFUL))
    body = {
        "model": chance.choice([MODEL] * 7 + ["other"]),
        "words": words,
        "piece_s": chance.choice([0, 0, 0.005]),
        "kind": chance.choice(["", "", "x"]),
        "stream": chance.random() < 0.5,
        "priority": chance.choices(["interactive", "job", "batch"], [8, 1, 1])[0],
        "work_bytes": chance.choice([0, MIB, 30 * MIB]),
    }
    if chance.random() < 0.3:
        # One in three of these cues never comes.
        when = chance.choice(["now", "now", "never"])
        body |= {"cue": str(cues / when), "at_once": chance.randint(0, 1)}
        body |= {"timeout_s": 1.0} if when == "never" else {}
    elif chance.random() < 0.1:
        body["timeout_s"] = 0.2
    return body


def ask_one(client: httpx.Client, n: int, cues: Path) -> str:
    """One request of a seed of its own: read to its end, left on the way, or cancelled."""
    chance = random.Random(f"{SEED} {n}")
    body, way = body_of(chance, cues), chance.choice(["read", "read", "leave", "cancel"])
    headers = EVENTS | {"X-Request-ID": f"chaos-{n}"}
    with client.stream("POST", "/v1/tasks/spell", headers=headers, json=body) as answer:
        if answer.status_code != 200:
            answer.read()
            return str(answer.json()["error"]["code"])
        events = []
        for event in events_of(answer.iter_lines()):
            events.append(event)
            if len(events) == 2 and way == "leave":
                return "left"
            if len(events) == 2 and way == "cancel":
                client.post(f"/v1/requests/chaos-{n}/cancel")
    names = [event.name for event in events]
    assert sum(name in ("result", "error") for name in names) == 1, names
    if names[-1] == "error":
        return str(events[-1].data["error"]["code"])
    assert names[-1] == "result"
    spelled = " ".join(body["words"]).upper()
    assert events[-1].data["outputs"][0]["json"]["text"] == spelled
    if body["stream"] and body["words"]:
        assert sent(events) == spelled.encode() + b" " + END
    return "ok"


def in_use(bundle: dict[str, Any]) -> bool:
    return bool(bundle["leases"] or bundle["reserved_bytes"])


def test_a_storm_of_requests_leaves_nothing_behind(
    server: Server, client: httpx.Client, tmp_path: Path
) -> None:
    (tmp_path / "now").touch()
    worker = server.worker().pid
    with ThreadPoolExecutor(16) as pool:
        ends = Counter(pool.map(lambda n: ask_one(client, n, tmp_path), range(REQUESTS)))
    print(ends)
    assert ends.total() == REQUESTS
    known = {"ok", "left", "cancelled", "deadline_exceeded", "invalid_value", "inference_failed"}
    assert set(ends) <= known | {"insufficient_memory"}
    assert ends["ok"] > REQUESTS / 4
    wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)
    for model in (MODEL, "other"):
        nothing_is_open(client, model)
    wait_for(lambda: not any(map(in_use, device_state(client)["bundles"])))
    wait_for(lambda: not list((server.data_dir / "spool").iterdir()))
    assert server.worker().pid == worker
    bugs = ("engine_failed", "answer_failed", "unhandled_error", "never retrieved")
    assert not [line for line in server.log() if any(bug in line for bug in bugs)]


def test_a_stop_lets_a_short_request_finish_and_answers_all_others(
    server: Server, client: httpx.Client, background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    short: Future[End] = background(
        plain_end, client, "spell", model=MODEL, words=["a"] * 8, cue=path, at_once=1
    )
    wait_for(lambda: open_pieces(client, MODEL)["threads"] == 1)
    asked = ask_everywhere(client, background, tmp_path, open_already=1)
    worker = server.worker()
    server.process.terminate()
    wait_for(lambda: any('"shutting_down"' in line for line in list(server.lines)))
    Path(path).touch()
    assert short.result(BOUND_S) == End(*OK)
    ends = [end.result(BOUND_S) for end in asked]
    assert {(end.status, end.code) for end in ends} == {(503, "shutting_down")}
    assert server.process.wait(120) == 0
    assert has_ended(worker)
