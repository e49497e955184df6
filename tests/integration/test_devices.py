"""Two workers on one memory pool: who gets a model, who gives memory up, who goes on alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.asking import Background, holding, wait_for_state
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.ends import OK, End, in_background, plain_end, wait_until_ready
from tests.support.faults_plugin import PLUGINS
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for

MIB = 1024 * 1024
BUDGET = 100 * MIB
SIZES = {"one": 40 * MIB, "two": 40 * MIB, "wide": 90 * MIB, "hot": 10 * MIB}
REPLICATE_AT = 2
ANSWER_S = 120.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("models")
    for name, size_bytes in SIZES.items():
        dummy_checkpoint(folder / name, resident_bytes=size_bytes, called=name)
    data_dir = tmp_path_factory.mktemp("server") / "data"
    settings = {
        "ONEBOX_DEVICE": "cpu,cpu",
        "ONEBOX_MEMORY_BUDGET": str(BUDGET),
        "ONEBOX_REPLICATE_AT": str(REPLICATE_AT),
        "ONEBOX_SHUTDOWN_GRACE": "0",
    }
    with running_server(data_dir, folder, **PLUGINS, **settings) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    """Both workers are up and nothing is loaded."""
    with server.client() as client:
        wait_for_both(client)
        with server.client(ADMIN_KEY) as admin:
            for name in SIZES:
                answer = admin.post(f"/v1/models/{name}/unload", json={"force": True})
                assert answer.status_code == 200, answer.text
        yield client


@pytest.fixture
def background() -> Iterator[Background]:
    with in_background() as submit:
        yield submit


def devices(client: httpx.Client) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/status").json()["devices"]
    return found


def wait_for_both(client: httpx.Client) -> None:
    wait_until_ready(client)
    wait_for(lambda: [d["state"] for d in devices(client)] == ["ready", "ready"], ANSWER_S)


def places(client: httpx.Client, name: str) -> list[int]:
    """The workers that have a model in memory. Checks that no byte of the pool is lent twice."""
    told = devices(client)
    assert sum(device["share_bytes"] or 0 for device in told) <= BUDGET, told
    return [d["worker"] for d in told if name in {b["name"] for b in d["bundles"]}]


def used_bytes(client: httpx.Client) -> int:
    return sum(
        bundle["size_bytes"] + bundle["reserved_bytes"]
        for device in devices(client)
        for bundle in device["bundles"]
    )


def workers_of_requests(client: httpx.Client) -> list[int]:
    """Where the caller's requests run now."""
    told = client.get("/v1/status").json()["running"]["requests"]
    return sorted(request["worker"] for request in told if request["state"] == "running")


def test_a_model_stays_where_it_is_loaded(client: httpx.Client) -> None:
    assert [plain_end(client, "echo", model="one") for _ in range(4)] == [End(*OK)] * 4
    assert len(wait_for(lambda: places(client, "one"))) == 1


def test_a_second_model_goes_to_the_worker_that_has_time(client: httpx.Client) -> None:
    with holding(client, "one") as running:
        first = wait_for(lambda: places(client, "one"))
        assert plain_end(client, "echo", model="two") == End(*OK)
        second = wait_for(lambda: places(client, "two"))
        assert sorted([*first, *second]) == [0, 1]
        before = running.steps
        wait_for(lambda: running.steps > before)
    # Each finds its own again, whoever has more time now.
    assert [plain_end(client, "echo", model=name) for name in ("two", "one")] == [End(*OK)] * 2
    assert (places(client, "one"), places(client, "two")) == (first, second)
    wait_for(lambda: used_bytes(client) == SIZES["one"] + SIZES["two"])


def test_a_hot_model_is_replicated_and_both_copies_answer(
    client: httpx.Client, background: Background
) -> None:
    with holding(client, "hot"):
        named = {"request_id": "behind", "timeout_s": ANSWER_S}
        behind = background(plain_end, client, "steps", model="hot", **named)
        wait_for_state(client, "behind", "queued")
        assert client.get("/v1/status").json()["running"]["count"] == REPLICATE_AT
        # The queue is long enough now: this one is not behind the one that runs.
        with holding(client, "hot"):
            assert workers_of_requests(client) == [0, 1]
            assert wait_for(lambda: places(client, "hot") == [0, 1])
    assert behind.result(ANSWER_S) == End(*OK)
    wait_for(lambda: used_bytes(client) == 2 * SIZES["hot"])


def test_a_worker_gets_memory_that_another_one_holds_idle(client: httpx.Client) -> None:
    with holding(client, "hot") as running:
        (busy,) = wait_for(lambda: places(client, "hot"))
        with holding(client, "two"):
            # Both are busy, and this one holds less.
            assert plain_end(client, "echo", model="one") == End(*OK)
            assert wait_for(lambda: places(client, "one")) == [busy]
        # Together with what runs it fills the pool to the last byte, so the idle ones must go.
        assert plain_end(client, "echo", model="wide") == End(*OK)
        assert wait_for(lambda: places(client, "wide")) == [1 - busy]
        wait_for(lambda: not places(client, "one") and not places(client, "two"))
        before = running.steps
        wait_for(lambda: running.steps > before)
    wait_for(lambda: used_bytes(client) == BUDGET)


def test_a_worker_waits_for_memory_that_another_one_has_in_use(
    client: httpx.Client, background: Background
) -> None:
    with holding(client, "one") as running:
        asked = background(plain_end, client, "echo", model="wide", timeout_s=ANSWER_S)
        wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 2)
        before = running.steps
        wait_for(lambda: running.steps > before + 20)
        assert not asked.done()
        assert not places(client, "wide")
    assert asked.result(ANSWER_S) == End(*OK)
    wait_for(lambda: used_bytes(client) == SIZES["wide"])


def test_a_lost_worker_leaves_the_other_one_serving(server: Server, client: httpx.Client) -> None:
    with holding(client, "one") as first:
        assert wait_for(lambda: places(client, "one")) == [0]
        with holding(client, "two") as second:
            assert wait_for(lambda: places(client, "two")) == [1]
            lost, other = server.workers()
            lost.kill()
            assert first.end().data["error"]["code"] == "worker_lost"
            wait_for(lambda: devices(client)[0]["state"] != "ready")
            answers = []
            while devices(client)[0]["state"] != "ready":
                assert client.get("/ready").status_code == 200
                answers.append(plain_end(client, "echo", model="hot").code)
            assert answers
            assert set(answers) == {"ok"}
            before = second.steps
            wait_for(lambda: second.steps > before)
    assert devices(client)[0]["restarts"] == 1
    assert other.is_running()
    assert plain_end(client, "echo", model="one") == End(*OK)
