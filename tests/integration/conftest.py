"""One server on dummy models for the folder; tests that need other settings start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import Server, running_server

PLUGIN = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin"}


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    dummy_checkpoint(folder / "alpha")
    dummy_checkpoint(folder / "org" / "beta", other_contents=True)
    dummy_checkpoint(folder / "unloadable", load_error=True)
    dummy_checkpoint(folder / "broken", broken=True)
    (folder / "garbage.safetensors").write_bytes(b"\xff" * 64)
    return folder


@pytest.fixture(scope="session")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    with running_server(data_dir, models, **PLUGIN, ONEBOX_MAX_BODY_BYTES="20000000") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
