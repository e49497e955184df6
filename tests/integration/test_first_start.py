"""A first start that can fetch nothing serves all the same."""

from __future__ import annotations

from pathlib import Path

from tests.integration.conftest import PLUGIN
from tests.support.server import running_server, wait_for

NOWHERE = "http://127.0.0.1:1"
CLOSED = {
    "HF_HUB_OFFLINE": "1",
    "PIP_INDEX_URL": NOWHERE,
    "PIP_EXTRA_INDEX_URL": NOWHERE,
    "PIP_FIND_LINKS": "",
    "UV_DEFAULT_INDEX": NOWHERE,
}


def test_without_a_network_the_starter_is_one_warning(models: Path, tmp_path: Path) -> None:
    with running_server(
        tmp_path / "data", models, **PLUGIN, **CLOSED, ONEBOX_STARTER="on"
    ) as server:
        told = "the starter models could not be fetched"
        wait_for(lambda: told in "".join(server.lines), 120)
        (line,) = [line for line in server.lines if told in line]
        assert "ONEBOX_STARTER=off" in line
        assert "Traceback" not in "".join(server.lines)
        with server.client() as client:
            assert client.get("/v1/models").status_code == 200
        assert server.stop() == 0


def test_off_is_silent(models: Path, tmp_path: Path) -> None:
    with running_server(
        tmp_path / "data", models, **PLUGIN, **CLOSED, ONEBOX_STARTER="off"
    ) as server:
        assert server.process.poll() is None
    assert "starter" not in "".join(server.lines)
