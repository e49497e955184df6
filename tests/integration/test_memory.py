"""Models that do not fit together share one budget."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import MIB, PLUGIN
from tests.support.asking import Background, ask_and_wait, holding, output, refusal
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import Server, running_server, wait_for


@pytest.fixture
def client(small: Server) -> Iterator[httpx.Client]:
    with small.client() as client:
        yield client


def echo(client: httpx.Client, model: str, **body: object) -> httpx.Response:
    return client.post("/v1/tasks/echo", json={"model": model, **body})


def loaded(client: httpx.Client) -> set[str]:
    return {model["id"] for model in client.get("/v1/models").json()["data"] if model["loaded"]}


def test_the_idle_one_goes_so_that_the_other_fits(client: httpx.Client) -> None:
    for name, other in (("one", "two"), ("two", "one"), ("one", "two")):
        assert echo(client, name).status_code == 200
        wait_for(lambda wanted=name: wanted in loaded(client))
        assert other not in loaded(client)


def test_no_more_goes_than_is_needed_and_nothing_that_is_pinned(client: httpx.Client) -> None:
    for name in ("pinned", "off", "one"):
        assert echo(client, name).status_code == 200
    # Now "one" has been idle for longest, but for the pinned one, and is enough.
    load = output(echo(client, "off"))["load"]
    assert echo(client, "two").status_code == 200
    wait_for(lambda: "two" in loaded(client))
    assert loaded(client) & {"pinned", "off", "one", "two"} == {"pinned", "off", "two"}
    assert output(echo(client, "off"))["load"] == load


def test_many_first_requests_cause_one_load(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        echo(client, "one")
        answers = list(pool.map(lambda _: echo(client, "two"), range(8)))
        loads = {output(answer)["load"] for answer in answers}
        assert len(loads) == 1


def test_two_models_in_turns_under_load_all_get_answers(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda name: echo(client, name), ["one", "two"] * 8)
        assert [answer.status_code for answer in answers] == [200] * 16


def test_what_can_never_fit_is_refused_at_once_with_both_numbers(client: httpx.Client) -> None:
    answer = echo(client, "huge")
    assert refusal(answer) == (507, "model_too_large")
    assert answer.headers["x-should-retry"] == "false"
    details = answer.json()["error"]["details"]
    assert details == {"needed_bytes": 101 * MIB, "budget_bytes": 100 * MIB}


def test_what_is_pinned_counts_for_what_can_never_fit(client: httpx.Client) -> None:
    assert echo(client, "pinned").status_code == 200
    answer = echo(client, "one", reserve_bytes=40 * MIB)
    assert refusal(answer) == (507, "model_too_large")
    assert echo(client, "one", reserve_bytes=39 * MIB).status_code == 200


def test_working_memory_counts(client: httpx.Client) -> None:
    assert echo(client, "two", reserve_bytes=41 * MIB).status_code == 507
    assert echo(client, "two", reserve_bytes=39 * MIB).status_code == 200


def test_an_idle_model_is_unloaded(client: httpx.Client) -> None:
    assert echo(client, "drei").json()["model"] == "three"
    wait_for(lambda: "three" not in loaded(client))


def test_who_waits_for_leased_memory_waits_no_longer_than_the_limit(
    tmp_path: Path, in_background: Background
) -> None:
    for name in ("one", "two"):
        dummy_checkpoint(tmp_path / "models" / name, resident_bytes=60 * MIB, called=name)
    settings = {"ONEBOX_MEMORY_BUDGET": "100MiB", "ONEBOX_LEASE_TIMEOUT": "3"}
    with (
        running_server(tmp_path / "data", tmp_path / "models", **PLUGIN, **settings) as own,
        own.client() as client,
    ):
        with holding(client, "one"):
            answer = echo(client, "two")
            assert refusal(answer) == (503, "insufficient_memory")
            assert int(answer.headers["retry-after"]) >= 1
            # It is the other's memory: a client that tries again may well get it.
            assert answer.headers.get("x-should-retry") != "false"
            waiting = ask_and_wait(in_background, client, "waiting", model="two")
        assert waiting.result(120).status_code == 200
        wait_for(lambda: loaded(client) == {"two"})


def test_a_model_that_is_asked_for_all_the_time_lets_another_one_in(
    tmp_path: Path, in_background: Background
) -> None:
    for name in ("one", "two"):
        dummy_checkpoint(tmp_path / "models" / name, resident_bytes=60 * MIB, called=name)
    settings = {"ONEBOX_MEMORY_BUDGET": "100MiB", "ONEBOX_LEASE_TIMEOUT": "8"}
    with (
        running_server(tmp_path / "data", tmp_path / "models", **PLUGIN, **settings) as own,
        own.client() as client,
    ):
        served = threading.Event()

        def keep_asking() -> set[int]:
            statuses = set()
            while not served.is_set():
                body = {"model": "one", "steps": 5, "step_s": 0.01}
                statuses.add(client.post("/v1/tasks/steps", json=body).status_code)
            return statuses

        asking = [in_background(keep_asking) for _ in range(4)]
        try:
            wait_for(lambda: "one" in loaded(client))
            statuses = [echo(client, name).status_code for name in ("two", "one", "two")]
        finally:
            served.set()
        assert statuses == [200] * 3
        assert [answer.result(120) for answer in asking] == [{200}] * 4
