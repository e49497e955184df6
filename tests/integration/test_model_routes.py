"""Models are loaded, unloaded, removed and found by request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.conftest import MIB
from tests.support.asking import (
    EVENTS,
    Background,
    Event,
    device_state,
    events_of,
    holding,
    load,
    output,
    refusal,
    unload,
    wait_for_state,
)
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import Server, wait_for


@pytest.fixture
def client(small: Server) -> Iterator[httpx.Client]:
    with small.client() as client:
        yield client


def load_events(client: httpx.Client, model: str, told: list[Event] | None = None) -> list[Event]:
    """Of a load; `told` has those that came so far."""
    told = [] if told is None else told
    with client.stream("POST", f"/v1/models/{model}/load", headers=EVENTS) as answer:
        for event in events_of(answer.iter_lines()):
            told.append(event)
    return told


def is_listed(client: httpx.Client, name: str) -> bool:
    return name in [model["id"] for model in client.get("/v1/models").json()["data"]]


def first_name(client: httpx.Client, name: str) -> str:
    """Of the model that has this name among others; the name itself while there is none."""
    return str(client.get(f"/v1/models/{name}").json().get("name", name))


def test_load_and_unload(manager: httpx.Client, client: httpx.Client) -> None:
    unload(manager, "off")
    loaded = load(manager, "off").json()
    assert loaded.pop("load_s") > 0
    assert loaded == {
        "id": "off",
        "object": "model",
        "status": "loaded",
        "device": "cpu",
        "loaded_bytes": 2 * MIB,
    }
    assert client.get("/v1/models/off").json()["loaded_bytes"] == 2 * MIB
    number = output(client.post("/v1/tasks/echo", json={"model": "off"}))["load"]
    assert load(manager, "off").json()["load_s"] == 0
    assert output(client.post("/v1/tasks/echo", json={"model": "off"}))["load"] == number

    assert unload(manager, "off").json()["was_loaded"] is True
    assert client.get("/v1/models/off").json()["loaded"] is False
    assert unload(manager, "off").json()["was_loaded"] is False


def test_all_who_wait_for_a_load_see_it(
    manager: httpx.Client, client: httpx.Client, in_background: Background, slow_cue: Path
) -> None:
    for name in ("slow", "off"):
        unload(manager, name)
    before = output(client.post("/v1/tasks/echo", json={"model": "off"}))["load"]
    told: list[list[Event]] = [[], []]
    watching = [in_background(load_events, manager, "slow", each) for each in told]
    body, named = {"model": "slow"}, {"X-Request-ID": "asks"}
    asking = in_background(client.post, "/v1/tasks/echo", json=body, headers=EVENTS | named)
    plain = in_background(load, manager, "slow")
    try:
        wait_for_state(client, "asks", "loading")
        wait_for(lambda: all(told))
    finally:
        slow_cue.touch()
    for watched in watching:
        *progress, end = watched.result(120)
        assert {event.name for event in progress} == {"loading"}
        fractions = [event.data["fraction"] for event in progress]
        assert fractions == sorted(fractions)
        assert fractions[-1] == 1
        assert (end.name, end.data["status"]) == ("loaded", "loaded")
    *heard, result = events_of(asking.result(120).text.splitlines())
    assert "loading" in {event.name for event in heard}
    # One load for all of them.
    assert result.data["outputs"][0]["json"]["load"] == before + 1
    assert plain.result(120).json()["status"] == "loaded"
    assert [event.name for event in load_events(manager, "slow")] == ["loaded"]


def test_what_cannot_be_loaded(manager: httpx.Client) -> None:
    assert refusal(load(manager, "huge")) == (507, "model_too_large")
    assert refusal(load(manager, "nothing")) == (404, "model_not_found")
    assert refusal(unload(manager, "nothing")) == (404, "model_not_found")
    answer = load(manager, "one", json={"timeout_s": 0})
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, "timeout_s")


def test_a_model_in_use_is_not_unloaded(manager: httpx.Client, client: httpx.Client) -> None:
    with holding(client, "off") as running:
        refused = unload(manager, "off")
        assert refusal(refused) == (409, "model_busy")
        assert refused.headers["x-should-retry"] == "false"
        assert refused.json()["error"]["details"] == {"leases": 1}
        before = running.steps
        wait_for(lambda: running.steps > before)


@pytest.mark.parametrize("options", [{"json": {"force": True}}, {"params": {"force": "true"}}])
def test_force_ends_the_requests(
    manager: httpx.Client, client: httpx.Client, chief: httpx.Client, options: dict[str, Any]
) -> None:
    with holding(client, "off") as running:
        assert refusal(unload(manager, "off", **options)) == (403, "insufficient_scope")
        assert unload(chief, "off", **options).json()["was_loaded"] is True
        end = running.end()
    assert (end.name, end.data["error"]["code"]) == ("error", "model_unloaded")
    assert client.get("/v1/models/off").json()["loaded"] is False
    assert client.post("/v1/tasks/echo", json={"model": "off"}).status_code == 200


def test_scopes(client: httpx.Client, manager: httpx.Client) -> None:
    for refused in (
        load(client, "one"),
        unload(client, "one"),
        client.post("/v1/models/rescan"),
        client.delete("/v1/models/one"),
        manager.delete("/v1/models/one"),
        manager.delete("/v1/models/one", params={"files": "true"}),
    ):
        assert refusal(refused) == (403, "insufficient_scope")
    assert is_listed(client, "one")


def test_delete_unloads_and_leaves_the_files(chief: httpx.Client) -> None:
    load(chief, "off")
    answer = chief.delete("/v1/models/off").json()
    assert answer == {"id": "off", "object": "model", "deleted": True, "files_removed": []}
    assert chief.get("/v1/models/off").json()["loaded"] is False
    assert is_listed(chief, "off")


def test_delete_with_files_removes_them_and_nothing_beside(
    chief: httpx.Client, small_models: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious.txt").write_text("keep me")
    made = dummy_checkpoint(tmp_path / "doomed", doomed=True)
    (made / "README.md").symlink_to(outside / "precious.txt")
    made.rename(small_models / "doomed")
    wait_for(lambda: is_listed(chief, "doomed"))
    assert load(chief, "doomed").status_code == 200
    (small_models / "doomed" / "more").symlink_to(outside)
    with holding(chief, "doomed"):
        in_use = chief.delete("/v1/models/doomed", params={"files": "true"})
        assert refusal(in_use) == (409, "model_busy")
        assert (small_models / "doomed" / "config.json").is_file()

    answer = chief.delete("/v1/models/doomed", params={"files": "true"})
    assert answer.json()["files_removed"] == [str(small_models / "doomed")]
    assert not (small_models / "doomed").exists()
    assert (outside / "precious.txt").read_text() == "keep me"
    assert not is_listed(chief, "doomed")
    assert refusal(chief.get("/v1/models/doomed")) == (404, "model_not_found")
    wait_for(lambda: "doomed" not in [bundle["name"] for bundle in device_state(chief)["bundles"]])


def test_delete_with_files_takes_every_copy(
    chief: httpx.Client, small_models: Path, tmp_path: Path
) -> None:
    made = dummy_checkpoint(tmp_path / "twin", twins=True)
    for name in ("twin-a", "twin-b"):
        shutil.copytree(made, small_models / name)
    # Equal contents are one model, once both are hashed.
    wait_for(lambda: len({first_name(chief, name) for name in ("twin-a", "twin-b")}) == 1)
    chief.delete("/v1/models/twin-a", params={"files": "true"})
    assert not (small_models / "twin-a").exists()
    assert not (small_models / "twin-b").exists()


def test_rescan(manager: httpx.Client, small_models: Path, tmp_path: Path) -> None:
    made = dummy_checkpoint(tmp_path / "found", found=True)
    before = manager.post("/v1/models/rescan").json()["models"]
    made.rename(small_models / "found")
    wait_for(lambda: manager.post("/v1/models/rescan").json()["models"] == before + 1)
    assert is_listed(manager, "found")
    shutil.rmtree(small_models / "found")
    # Nobody waits for a model that is gone.
    assert manager.post("/v1/models/rescan").json()["models"] == before
    assert not is_listed(manager, "found")
