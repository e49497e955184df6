"""What the server tells of its memory and its requests, and memory that does not come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.conftest import MIB, PLUGIN
from tests.support.asking import (
    device_state,
    holding,
    load,
    running_requests,
    unload,
    wait_for_state,
)
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ADMIN_KEY, Server, running_server, wait_for

# By what the processor computes fast.
CPU_DTYPES = ("float32", "bfloat16")


@pytest.fixture
def client(small: Server) -> Iterator[httpx.Client]:
    with small.client() as client:
        yield client


def memory(client: httpx.Client, model: str, **query: Any) -> dict[str, Any]:
    answer = client.get(f"/v1/models/{model}/memory", params=query)
    assert answer.status_code == 200, answer.text
    (device,) = answer.json()["devices"]
    return dict(device)


def metric(client: httpx.Client, start: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    (found,) = [line for line in lines if line.startswith(start)]
    return float(found.split()[-1])


def test_the_memory_of_a_model(manager: httpx.Client, client: httpx.Client) -> None:
    unload(manager, "two")
    told = memory(client, "two", task="echo", reserve_bytes=30 * MIB)
    assert (told["device"], told["kind"]) == ("cpu", "cpu")
    assert told["dtype"] in CPU_DTYPES
    assert (told["estimate_bytes"], told["loaded_bytes"]) == (60 * MIB, None)
    assert (told["budget_bytes"], told["share_bytes"]) == (100 * MIB, 100 * MIB)
    assert told["reserve"]["expected_bytes"] == told["reserve"]["estimate_bytes"] == 30 * MIB
    assert told["fits"] is True
    assert memory(client, "two", task="echo", reserve_bytes=41 * MIB)["fits"] is False
    assert memory(client, "huge")["fits"] is False
    assert memory(client, "two")["reserve"] is None


def test_the_measured_size_takes_the_place_of_the_estimate(
    manager: httpx.Client, client: httpx.Client
) -> None:
    load(manager, "off")
    told = memory(client, "off")
    sizes = {name: told[f"{name}_bytes"] for name in ("estimate", "measured", "expected", "loaded")}
    assert sizes == {
        "estimate": MIB,
        "measured": 2 * MIB,
        "expected": 2 * MIB,
        "loaded": 2 * MIB,
    }


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ({"task": "nothing"}, 422, "task"),
        ({"task": "together"}, 400, "task"),
        ({"task": "echo", "txet": "x"}, 422, "txet"),
        ({"task": "echo", "reserve_bytes": "many"}, 422, "reserve_bytes"),
    ],
)
def test_a_wrong_question_about_memory(
    client: httpx.Client, query: dict[str, str], status: int, param: str
) -> None:
    answer = client.get("/v1/models/one/memory", params=query)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)


def test_sizes_are_remembered_by_the_next_server(tmp_path: Path) -> None:
    models = tmp_path / "models"
    dummy_checkpoint(models / "off", resident_bytes=MIB, actual_bytes=2 * MIB)
    data_dir = tmp_path / "data"
    with running_server(data_dir, models, **PLUGIN) as first, first.client(ADMIN_KEY) as client:
        wait_for(lambda: client.get("/v1/models/off").json()["sha256"])
        assert memory(client, "off")["measured_bytes"] is None
        load(client, "off")
    with running_server(data_dir, models, **PLUGIN) as second, second.client() as client:
        wait_for(lambda: client.get("/v1/models/off").json()["sha256"])
        told = memory(client, "off")
        assert told["loaded_bytes"] is None
        assert (told["measured_bytes"], told["expected_bytes"]) == (2 * MIB, 2 * MIB)


def test_the_status_tells_each_caller_of_its_own_requests(
    client: httpx.Client, chief: httpx.Client
) -> None:
    with (
        holding(client, "off", request_id="mine", steps=1000),
        holding(chief, "one", request_id="of-the-chief"),
    ):
        assert set(running_requests(client)) == {"mine"}
        assert set(running_requests(chief)) == {"mine", "of-the-chief"}
        assert client.get("/v1/status").json()["running"]["count"] == 2

        mine = wait_for_state(client, "mine", "running")
        assert (mine["task"], mine["model"], mine["priority"]) == ("steps", "off", "interactive")
        assert mine["worker"] == 0
        assert 0 < mine["step"] <= mine["steps"] == 1000
        assert mine["progress"] == mine["step"] / mine["steps"]
        assert wait_for(lambda: running_requests(client)["mine"]["step"] > mine["step"])

        def leases() -> dict[str, int]:
            return {bundle["name"]: bundle["leases"] for bundle in device_state(client)["bundles"]}

        wait_for(lambda: (leases().get("off"), leases().get("one")) == (1, 1))
        told = device_state(client)
        assert (told["state"], told["kind"]) == ("ready", "cpu")
        assert told["dtype"] in CPU_DTYPES
        assert told["pool"]["budget_bytes"] == told["share_bytes"] == 100 * MIB
        assert told["pool"]["used_bytes"] >= 62 * MIB
    wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)
    wait_for(lambda: set(leases().values()) == {0})


def test_memory_comes_back_and_is_measured(manager: httpx.Client) -> None:
    load(manager, "heavy")
    before = device_state(manager)["returned_bytes"]
    unload(manager, "heavy")
    wait_for(lambda: device_state(manager)["returned_bytes"] - before >= 79 * MIB)
    told = device_state(manager)
    assert told["leaked_bytes"] < 40 * MIB
    assert told["wants_restart"] is None
    assert metric(manager, "onebox_memory_returned_bytes_total") >= 79 * MIB
    assert metric(manager, 'onebox_device_memory_bytes{device="cpu",kind="leaked"') < 40 * MIB
    assert metric(manager, 'onebox_device_memory_bytes{device="cpu",kind="budget"') == 100 * MIB


def test_a_worker_that_leaked_is_restarted_when_it_is_idle(
    small: Server, manager: httpx.Client, client: httpx.Client
) -> None:
    worker, restarts = small.worker().pid, device_state(client)["restarts"]
    load(manager, "leaky")
    with holding(client, "off") as running:
        unload(manager, "leaky")
        before = running.steps
        wait_for(lambda: running.steps > before + 100)
        assert small.worker().pid == worker
    wait_for(lambda: device_state(client)["restarts"] == restarts + 1)
    assert client.post("/v1/tasks/echo", json={"model": "off"}).status_code == 200
    assert small.worker().pid != worker
    reasons = [line for line in small.log() if '"worker_recycled"' in line]
    assert "leaky" in reasons[-1]
    wait_for(lambda: device_state(client)["leaked_bytes"] == 0)
    assert metric(client, 'onebox_device_memory_bytes{device="cpu",kind="leaked"') == 0
    assert metric(client, "onebox_worker_starts_total") == restarts + 2
