"""Keys of a server that runs, changed beside it by the command line and through its routes."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import httpx
import pytest

from tests.support.asking import refusal
from tests.support.server import ADMIN_KEY, ROOT, Server, wait_for

ECHO = "/v1/tasks/echo"


def onebox(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "onebox", "keys", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "DATA_DIR": str(server.data_dir)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout.strip()


def echo(server: Server, key: str, model: str = "alpha") -> httpx.Response:
    with server.client(key) as client:
        return client.post(ECHO, json={"model": model, "text": "x"})


def becomes(server: Server, key: str, status: int) -> bool:
    return wait_for(lambda: echo(server, key).status_code == status)


@pytest.fixture
def admin(server: Server):
    with server.client(ADMIN_KEY) as client:
        yield client


def test_the_command_line_makes_rotates_and_revokes_keys_of_a_running_server(server, admin):
    first = onebox(server, "create", "cli", "--model", "alp*")
    becomes(server, first, 200)
    assert refusal(echo(server, first, "org/beta")) == (403, "model_not_allowed")
    with server.client(first) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["alpha"]
        # With one model that is allowed, none need be named.
        assert client.post(ECHO, json={"text": "x"}).json()["model"] == "alpha"
    key_id = next(
        line.split("\t")[0] for line in onebox(server, "list").splitlines() if "\tcli\t" in line
    )
    assert admin.get(f"/v1/keys/{key_id}").json()["last_used_at"] is not None
    second = onebox(server, "rotate", key_id, "--grace-hours", "1")
    becomes(server, second, 200)
    assert echo(server, first).status_code == 200
    third = onebox(server, "rotate", key_id, "--grace-hours", "0")
    becomes(server, second, 401)
    assert [echo(server, key).status_code for key in (first, third)] == [401, 200]
    onebox(server, "revoke", key_id)
    becomes(server, third, 401)


def test_a_key_made_through_the_routes_ends_when_it_expires(server, admin):
    expires_at = time.time() + 5
    made = admin.post("/v1/keys", json={"name": "brief", "expires_at": expires_at}).json()
    assert echo(server, made["key"]).status_code == 200
    becomes(server, made["key"], 401)
    assert time.time() >= expires_at
    assert admin.get(f"/v1/keys/{made['id']}").json()["state"] == "expired"
    assert not any(made["key"] in line for line in server.lines)


def test_work_of_a_key_stays_its_own_over_a_rotation(server, admin):
    made = admin.post("/v1/keys", json={"name": "worker"}).json()
    with server.client(made["key"]) as client:
        job = client.post(
            "/v1/jobs", json={"task": "echo", "model": "alpha", "input": {"text": "x"}}
        )
    rotated = admin.post(f"/v1/keys/{made['id']}/rotate", json={"grace_seconds": 0}).json()
    assert echo(server, made["key"]).status_code == 401
    with server.client(rotated["key"]) as client:
        assert client.get(f"/v1/jobs/{job.json()['id']}").status_code == 200
