"""What a server answers between the signal and its end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.asking import holding
from tests.support.ends import End, plain_end
from tests.support.faults_plugin import PLUGINS
from tests.support.server import Server, has_ended, running_server, wait_for

# Longer than any test waits: what ends sooner did not wait for it.
GRACE = {"ONEBOX_SHUTDOWN_GRACE": "300"}


@pytest.fixture
def server(models: Path, tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path / "data", models, **PLUGINS, **GRACE) as running:
        yield running


def refusal(client: httpx.Client) -> End | None:
    """How a new request ends once none is taken any more; before, it would wait for the device."""
    end = plain_end(client, "echo", model="alpha", timeout_s=0.2)
    return end if end.code == "shutting_down" else None


def test_while_it_drains_it_says_so_and_refuses_new_work_alone(server: Server) -> None:
    with server.client() as client, holding(client, "alpha", request_id="long") as long:
        server.process.terminate()
        ready = wait_for(lambda: (told := client.get("/ready")).status_code == 503 and told)
        assert ready.json()["error"]["details"] == {"reasons": ["draining"]}
        refused = wait_for(lambda: refusal(client))
        assert refused.status == 503
        assert int(refused.retry_after or 0) >= 1
        for path in ("/health", "/v1/status", "/v1/jobs", "/v1/models", "/metrics"):
            assert client.get(path).status_code == 200
        # A client that wants its request no more is still heard, and then there is nothing left.
        assert client.post("/v1/requests/long/cancel").status_code == 200
        assert long.end().data["error"]["code"] == "cancelled"
    assert server.process.wait(120) == 0


def test_a_second_signal_ends_it_at_once(server: Server) -> None:
    with server.client() as client, holding(client, "alpha") as long:
        worker = server.worker()
        server.process.terminate()
        wait_for(lambda: client.get("/ready").status_code == 503)
        server.process.send_signal(signal.SIGTERM)
        assert long.end().data["error"]["code"] == "shutting_down"
    assert server.process.wait(120) == 0
    assert has_ended(worker)
