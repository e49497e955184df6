"""Memory and requests of piecewise engines, which use their model in rounds, and not between."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import MIB
from tests.support.asking import (
    Background,
    ask_and_wait,
    device_state,
    holding,
    output,
    refusal,
    running_requests,
    unload,
)
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.pieces_plugin import MOST_OPEN, PLUGINS, pieces_checkpoint
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for
from tests.support.spelling import (
    MODEL,
    cue,
    goes_on,
    nothing_is_open,
    open_pieces,
    spell,
    spelling,
    waiting_for_words,
)

# Who waits for room is next after a quarter of it.
LEASE_TIMEOUT_S = 3


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    pieces_checkpoint(folder / MODEL, resident_bytes=MIB)
    for name in ("one", "two"):
        pieces_checkpoint(folder / name, resident_bytes=60 * MIB, called=name)
    dummy_checkpoint(folder / "plain", resident_bytes=60 * MIB)
    pieces_checkpoint(folder / "idle", resident_bytes=MIB, called="idle")
    (folder / "idle" / "onebox.toml").write_text("idle_timeout = 0.5\n")
    for name in ("removed", "removed-later"):
        pieces_checkpoint(folder / name, resident_bytes=MIB, called=name)
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {
        "ONEBOX_MEMORY_BUDGET": "100MiB",
        "ONEBOX_LEASE_TIMEOUT": str(LEASE_TIMEOUT_S),
        "ONEBOX_SHUTDOWN_GRACE": "0",
    }
    with running_server(data_dir, models, **PLUGINS, **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Whatever the test did, nothing is left of it in the worker."""
    with server.client() as client:
        yield client
        wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)
        nothing_is_open(client, MODEL)
        wait_for(lambda: not any(b["leases"] or b["reserved_bytes"] for b in bundles(client)))


@pytest.fixture
def admin(server: Server) -> Iterator[httpx.Client]:
    with server.client(ADMIN_KEY) as client:
        yield client


def bundles(client: httpx.Client) -> list[dict[str, object]]:
    return list(device_state(client)["bundles"])


def loaded(client: httpx.Client) -> list[object]:
    return sorted(str(bundle["name"]) for bundle in bundles(client))


def test_a_round_sets_aside_what_one_of_its_requests_takes_and_not_all_of_them(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    waiting = [
        waiting_for_words(
            in_background, client, f"large-{n}", path, words=[f"{n}"] * 40, work_bytes=45 * MIB
        )
        for n in range(MOST_OPEN)
    ]
    Path(path).touch()
    told = [output(answer.result(120)) for answer in waiting]
    sizes = {len(set(words)) for one in told for words in one["with"]}
    # More than two would not fit if what each of them sets aside were added up.
    assert max(sizes) > 2


def test_what_can_never_fit_is_refused_and_others_are_not(client: httpx.Client) -> None:
    with spelling(client, MODEL) as running:
        answer = spell(client, MODEL, "a", work_bytes=100 * MIB)
        assert refusal(answer) == (507, "model_too_large")
        goes_on(running)


def test_two_models_that_do_not_fit_together_take_turns_while_both_have_long_requests(
    client: httpx.Client, in_background: Background
) -> None:
    words = ["long"] * 200
    asked = [in_background(spell, client, model, *words, piece_s=0.01) for model in ("one", "two")]
    told = [output(answer.result(120)) for answer in asked]
    assert [len(one["with"]) for one in told] == [200] * 2
    # The one that was there first let the other one in on the way.
    assert max(len(one["loads"]) for one in told) > 1


def test_a_short_request_for_another_model_does_not_wait_for_the_end_of_a_long_one(
    client: httpx.Client,
) -> None:
    with spelling(client, "one") as long:
        assert output(spell(client, "two", "a"))["text"] == "A"
        echo = client.post("/v1/tasks/echo", json={"model": "plain"})
        assert echo.status_code == 200
        goes_on(long)


def test_one_that_let_another_model_in_goes_on_when_that_has_ended_however_late(
    client: httpx.Client, in_background: Background
) -> None:
    words = ["long"] * 400
    asked = in_background(spell, client, "one", *words, piece_s=0.01)
    wait_for(lambda: [r["step"] > 8 for r in running_requests(client).values()] == [True])
    body = {"model": "plain", "steps": LEASE_TIMEOUT_S * 12, "step_s": 0.1}
    assert client.post("/v1/tasks/steps", json=body).status_code == 200
    told = output(asked.result(120))
    assert len(told["with"]) == 400
    assert len(told["loads"]) == 2


def test_unloading_by_force_ends_the_requests_wherever_they_are(
    client: httpx.Client, admin: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    never = cue(tmp_path, "never")
    with spelling(client, MODEL) as computed:
        waiting = [
            waiting_for_words(in_background, client, "first", never),
            waiting_for_words(
                in_background,
                client,
                "between",
                never,
                words=["a", "b"],
                at_once=1,
                state="running",
            ),
            waiting_for_words(in_background, client, "last", never),
        ]
        queued = ask_and_wait(
            in_background, client, "queued", task="spell", model=MODEL, words=["a"]
        )
        assert unload(admin, MODEL, json={"force": True}).json()["was_loaded"] is True
        assert computed.end().data["error"]["code"] == "model_unloaded"
    codes = [refusal(answer.result(120))[1] for answer in (*waiting, queued)]
    assert codes == ["model_unloaded"] * 4


def test_a_model_that_is_used_between_two_words_may_be_unloaded_and_comes_again(
    client: httpx.Client, admin: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    asked = waiting_for_words(
        in_background, client, "begun", path, words=["a", "b"], at_once=1, state="running"
    )
    assert unload(admin, MODEL).json()["was_loaded"] is True
    Path(path).touch()
    told = output(asked.result(120))
    assert (told["text"], len(told["loads"])) == ("A B", 2)
    assert told["loads"][1] == told["loads"][0] + 1


def test_a_model_that_nobody_computes_with_is_unloaded_when_it_is_idle(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    path = cue(tmp_path)
    fields = {"model": "idle", "words": ["a"] * 400, "at_once": 1, "cue": path, "piece_s": 0.01}
    asked = ask_and_wait(in_background, client, "slow", task="spell", state="running", **fields)
    wait_for(lambda: "idle" not in loaded(client))
    assert running_requests(client)["slow"]["state"] == "running"
    Path(path).touch()
    wait_for(lambda: running_requests(client)["slow"]["step"] > 1)
    # It was loaded again, but the request never went back to the queue.
    told = running_requests(client)["slow"]
    assert (told["state"], client.get("/v1/status").json()["queue"]["waiting"]) == ("running", 0)
    assert len(output(asked.result(120))["loads"]) == 2


@pytest.mark.parametrize("model", ["removed", "removed-later"])
def test_a_model_is_removed_from_disk_while_it_is_in_use(
    client: httpx.Client,
    admin: httpx.Client,
    models: Path,
    in_background: Background,
    tmp_path: Path,
    model: str,
) -> None:
    """What is in memory serves those who came before; there is nothing for those after it."""
    path = cue(tmp_path)
    words, late = ["long"] * 40, {"cue": path, "at_once": 0 if model == "removed" else 1}
    asked = in_background(spell, client, model, *words, **late)
    wait_for(lambda: open_pieces(client, model)["threads"] == 1)
    shutil.rmtree(models / model)
    assert admin.post("/v1/models/rescan").status_code == 200
    assert refusal(spell(client, model, "a")) == (404, "model_not_found")
    wait_for(lambda: model not in loaded(client))
    Path(path).touch()
    assert asked.result(120).status_code == 200
    wait_for(lambda: model not in loaded(client))


def test_a_cancel_is_heard_while_the_engine_waits_for_room_for_another_request(
    client: httpx.Client, in_background: Background, tmp_path: Path
) -> None:
    with holding(client, "plain"):
        late = ask_and_wait(
            in_background,
            client,
            "late",
            task="spell",
            model="two",
            words=["a"],
            cue=cue(tmp_path, "never"),
        )
        blocked = ask_and_wait(
            in_background, client, "blocked", task="spell", model="two", words=["a"]
        )
        assert client.post("/v1/requests/late/cancel").status_code == 200
        assert refusal(late.result(120)) == (499, "cancelled")
        assert not blocked.done()
    assert blocked.result(120).status_code == 200
