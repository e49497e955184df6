"""Every way to end a request before it is done, and that it ends nobody else's."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.support.asking import (
    FOREVER,
    Background,
    ask_and_wait,
    holding,
    nobody_waits,
    refusal,
    running_requests,
    wait_for_state,
)
from tests.support.server import ADMIN_KEY, Server, wait_for

LONG = {"model": "alpha", "steps": FOREVER, "step_s": 0.02}


@pytest.fixture
def chief(server: Server) -> Iterator[httpx.Client]:
    with server.client(ADMIN_KEY) as client:
        yield client


@pytest.fixture(autouse=True)
def the_device_is_free_afterwards(client: httpx.Client) -> Iterator[None]:
    yield
    wait_for(lambda: client.get("/v1/status").json()["running"]["count"] == 0)
    assert client.get("/v1/status").json()["queue"]["waiting"] == 0
    assert client.post("/v1/tasks/echo", json={"model": "alpha"}).status_code == 200


def cancel(client: httpx.Client, request_id: str) -> httpx.Response:
    return client.post(f"/v1/requests/{request_id}/cancel")


def test_an_id_belongs_to_one_running_request_of_a_caller(
    client: httpx.Client, chief: httpx.Client
) -> None:
    named = {"X-Request-ID": "mine"}
    echo = {"model": "org/beta"}
    with holding(client, "alpha", request_id="mine"):
        again = client.post("/v1/tasks/echo", json=echo, headers=named)
        assert refusal(again) == (409, "request_id_taken")
        assert again.headers["x-should-retry"] == "false"
        assert chief.post("/v1/tasks/echo", json=echo, headers=named).status_code == 200
    wait_for(lambda: "mine" not in running_requests(client))
    assert client.post("/v1/tasks/echo", json=echo, headers=named).status_code == 200


def test_one_that_waits(client: httpx.Client, in_background: Background) -> None:
    with holding(client, "alpha", request_id="holder"):
        waiting = ask_and_wait(in_background, client, "waiter", model="alpha")
        assert cancel(client, "waiter").json() == {
            "id": "waiter",
            "status": "cancelling",
            "requests": 1,
        }
        assert refusal(waiting.result(120)) == (499, "cancelled")
        assert waiting.result().headers["x-should-retry"] == "false"
        assert set(running_requests(client)) == {"holder"}


def test_one_that_waits_for_another_model(client: httpx.Client, in_background: Background) -> None:
    with holding(client, "alpha"):
        body = {"model": "org/beta", "priority": "batch"}
        waiting = ask_and_wait(in_background, client, "waiter", **body)
        assert cancel(client, "waiter").status_code == 200
        assert refusal(waiting.result(120)) == (499, "cancelled")


def test_one_that_runs(client: httpx.Client, in_background: Background) -> None:
    running = ask_and_wait(in_background, client, "runner", task="steps", state="running", **LONG)
    assert cancel(client, "runner").status_code == 200
    assert refusal(running.result(120)) == (499, "cancelled")


def test_one_that_runs_and_streams(client: httpx.Client) -> None:
    with holding(client, "alpha", request_id="streamer") as running:
        assert cancel(client, "streamer").status_code == 200
        end = running.end()
    assert (end.name, end.data["error"]["code"]) == ("error", "cancelled")
    assert end.data["error"]["status"] == 499


def test_others_need_the_right_to_manage(client: httpx.Client, chief: httpx.Client) -> None:
    with holding(chief, "alpha", request_id="of-the-chief") as running:
        refused = cancel(client, "of-the-chief")
        assert refusal(refused) == (404, "request_not_found")
        before = running.steps
        wait_for(lambda: running.steps > before)
    with holding(client, "alpha", request_id="of-a-client") as running:
        assert cancel(chief, "of-a-client").json()["requests"] == 1
        assert running.end().data["error"]["code"] == "cancelled"


def test_one_that_is_not_there(client: httpx.Client) -> None:
    assert refusal(cancel(client, "nobody")) == (404, "request_not_found")
    assert client.post("/v1/tasks/echo", json={"model": "alpha"}).status_code == 200


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
def test_a_client_that_leaves_ends_what_runs_for_it(
    server: Server, client: httpx.Client, streaming: bool
) -> None:
    if streaming:
        with holding(client, "alpha", request_id="leaver"):
            pass
    else:
        with nobody_waits(server, "steps", "leaver", **LONG):
            wait_for_state(client, "leaver", "running")
    wait_for(lambda: "leaver" not in running_requests(client))


@pytest.mark.parametrize("streaming", [False, True], ids=["plain", "streaming"])
def test_a_client_that_leaves_ends_what_waits_for_it(
    server: Server, client: httpx.Client, streaming: bool
) -> None:
    with holding(client, "alpha", request_id="holder") as holder:
        with nobody_waits(server, "steps", "leaver", streaming=streaming, **LONG):
            wait_for_state(client, "leaver", "queued")
        wait_for(lambda: "leaver" not in running_requests(client))
        before = holder.steps
        wait_for(lambda: holder.steps > before)
