"""The server as a user starts it, on the model that ships with the project."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import httpx
import openai
import pytest

from tests.support.server import API_KEY, ROOT, Server, running_server

SECRET_KEY = "a-secret-for-tests-of-thirty-two-bytes"
APP = (sys.executable, str(ROOT / "app.py"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("server") / "data"
    models = ROOT / "ai-models"
    with running_server(data_dir, models, command=APP, SECRET_KEY=SECRET_KEY) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def sdk(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=API_KEY, max_retries=0) as sdk:
        yield sdk
