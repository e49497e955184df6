"""A server with a backend beside it: the one that docs/hooks.md shows, as it stands there."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from tests.integration.conftest import PLUGIN
from tests.support.server import API_KEY, ROOT, Server, running_server, wait_for

KEY = "a-key-that-both-know"
ADA = "token-of-ada"
PAGE = ROOT / "docs" / "hooks.md"


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, Any]]:
    """The names of the module that the page shows."""
    (code,) = re.findall(r"```python\n(# backend\.py.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ONEBOX_HOOK_KEY", KEY)
        exec(compile(code, "backend.py", "exec"), names)
        yield names


@contextlib.contextmanager
def served(app: Any, listener: socket.socket) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.fixture(scope="module")
def server(
    models: Path, tmp_path_factory: pytest.TempPathFactory, listener: socket.socket
) -> Iterator[Server]:
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    hooks = {
        "ONEBOX_HOOK_KEY": KEY,
        "ONEBOX_AUTH_VERIFY_URL": f"{url}/verify",
        "ONEBOX_CREDIT_CHECK_URL": f"{url}/credits",
        "ONEBOX_USAGE_WEBHOOK_URL": f"{url}/usage",
        "ONEBOX_CREDIT_CHECK_FAIL": "open",
        "ONEBOX_HOOK_CACHE": "0",
        # No wait for another try fits in.
        "ONEBOX_HOOK_TIMEOUT": "10",
        "ONEBOX_HOOK_WAIT": "10",
    }
    data_dir = tmp_path_factory.mktemp("hooks") / "data"
    with running_server(data_dir, models, **PLUGIN, **hooks) as running:
        yield running


def echo(server: Server, key: str) -> httpx.Response:
    with server.client(key) as client:
        return client.post("/v1/tasks/echo", json={"model": "alpha", "text": "hello"})


def test_users_of_a_backend_pay_for_what_they_use_until_nothing_is_left(
    server: Server, shop: dict[str, Any], listener: socket.socket
) -> None:
    balances: dict[str, float] = shop["CREDITS"]
    with served(shop["app"], listener):
        assert echo(server, "token-of-nobody").status_code == 401
        for left in (2, 1, 0):
            assert echo(server, ADA).status_code == 200
            wait_for(lambda left=left: balances["42"] == left)
        broke = echo(server, ADA)
    assert (broke.status_code, broke.json()["error"]["code"]) == (403, "insufficient_credits")
    assert broke.json()["error"]["details"] == {"balance": 0}
    # The backend has gone.
    nobody_knows = echo(server, ADA)
    assert nobody_knows.status_code == 503
    assert nobody_knows.json()["error"]["code"] == "backend_unavailable"
    assert int(nobody_knows.headers["retry-after"]) >= 1
    assert echo(server, API_KEY).status_code == 200
    assert all(KEY not in line and ADA not in line for line in server.lines)
