"""The server as a user starts it, on the model that ships with the project, and on SmolLM2."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from onebox.starter.catalogue import SMOLLM2, WHISPER
from tests.support.server import ROOT, Server, running_server
from tests.support.starter import smollm2_folder, whisper_folder
from tests.support.talking import ONE_THREAD

SECRET_KEY = "a-secret-for-tests-of-thirty-two-bytes"
APP = (sys.executable, str(ROOT / "app.py"))
CHAT_MODEL = SMOLLM2.folder
FLOAT32_MODEL = "SmolLM2-float32"


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
    with server.sdk() as sdk:
        yield sdk


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The real weights."""
    return smollm2_folder() / CHAT_MODEL


@pytest.fixture(scope="session")
def dropped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of `chat_server` for tests to put models into."""
    return tmp_path_factory.mktemp("dropped")


@pytest.fixture(scope="session")
def chat_server(
    smollm2: Path, dropped: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With SmolLM2 in its default dtype and in float32, and the model that draws."""
    _in_float32(smollm2, dropped / FLOAT32_MODEL)
    data_dir = tmp_path_factory.mktemp("chat") / "data"
    folders = ",".join(map(str, (smollm2.parent, dropped, ROOT / "ai-models")))
    with running_server(data_dir, smollm2.parent, command=APP, MODEL_DIRS=folders) as running:
        yield running


@pytest.fixture
def chat(chat_server: Server) -> Iterator[httpx.Client]:
    with chat_server.client() as client:
        yield client


@pytest.fixture
def chat_sdk(chat_server: Server) -> Iterator[openai.OpenAI]:
    with chat_server.sdk() as sdk:
        yield sdk


@pytest.fixture
def async_sdk(chat_server: Server) -> openai.AsyncOpenAI:
    """To be closed by `async with`."""
    return chat_server.async_sdk()


def _in_float32(folder: Path, copy: Path) -> None:
    """The same weights under another name, to be computed in float32."""
    copy.mkdir(parents=True)
    for file in folder.iterdir():
        try:
            os.link(file, copy / file.name)
        except OSError:  # another disk
            shutil.copy(file, copy / file.name)
    for name, more in (("config.json", "\n"), ("onebox.toml", 'dtype = "float32"\n')):
        # Other contents, since folders of equal contents are one model.
        text = (folder / name).read_text(encoding="utf-8") + more
        (copy / name).unlink()
        (copy / name).write_text(text, encoding="utf-8")


@pytest.fixture(scope="session")
def listening_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With Whisper, in float32: a text does not depend on who else is heard."""
    folder = tmp_path_factory.mktemp("listening")
    _in_float32(whisper_folder() / WHISPER.folder, folder / "models" / WHISPER.folder)
    with running_server(folder / "data", folder / "models", **ONE_THREAD) as running:
        yield running


@pytest.fixture
def listener(listening_server: Server) -> Iterator[httpx.Client]:
    with listening_server.client() as client:
        yield client


@pytest.fixture
def listener_sdk(listening_server: Server) -> Iterator[openai.OpenAI]:
    with listening_server.sdk() as sdk:
        yield sdk
