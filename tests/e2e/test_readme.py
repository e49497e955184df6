"""The README's examples, run as they stand."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onebox.starter.shapes_score import dominant_colours
from tests.e2e.conftest import APP
from tests.support.server import API_KEY, ROOT, Server, running_server
from tests.support.starter import minilm_folder, voice_folder, whisper_folder

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def speech_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a voice, with Whisper, and with an encoder of texts."""
    whisper = whisper_folder()
    folders = ",".join(map(str, (whisper, voice_folder(), minilm_folder())))
    data_dir = tmp_path_factory.mktemp("speech") / "data"
    with running_server(data_dir, whisper, command=APP, MODEL_DIRS=folders) as running:
        yield running


def blocks(language: str, heading: str) -> list[str]:
    """The code blocks of a language under a heading."""
    section = re.split(r"^## ", README.split(f"## {heading}\n")[1], flags=re.MULTILINE)[0]
    return re.findall(rf"^```{language}\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)


def test_the_curl_lines_of_the_quick_start(server: Server, tmp_path: Path) -> None:
    as_json, as_picture = blocks("bash", "Quick start")
    answer = json.loads(_shell(as_json, server, tmp_path))
    assert answer["id"] == "r1"
    _shell(as_picture, server, tmp_path)
    image = Image.open(tmp_path / "picture.png")
    assert dominant_colours(image.convert("RGB")) == ("red", "blue")


def test_the_sdk_lines_of_the_quick_start(server: Server) -> None:
    (code,) = blocks("python", "Quick start")
    names: dict[str, Any] = {"KEY": API_KEY}
    exec(code.replace("http://localhost:8000", server.url), names)
    assert len(names["answer"].data) == 2


def test_the_curl_lines_about_chat(chat_server: Server, tmp_path: Path) -> None:
    (code,) = blocks("bash", "Chat")
    (choice,) = json.loads(_shell(code, chat_server, tmp_path))["choices"]
    assert choice["message"]["content"]


def test_the_sdk_lines_about_chat(chat_server: Server) -> None:
    (code,) = blocks("python", "Chat")
    names: dict[str, Any] = {"KEY": API_KEY}
    exec(code.replace("http://localhost:8000", chat_server.url), names)
    assert names["answer"]


def test_the_curl_lines_about_speech(speech_server: Server, tmp_path: Path) -> None:
    speak, listen = blocks("bash", "Speech")
    _shell(speak, speech_server, tmp_path)
    text = json.loads(_shell(listen, speech_server, tmp_path))["text"]
    assert "train leaves at 5" in text.lower()


def test_the_sdk_lines_about_speech(
    speech_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks("python", "Speech")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"KEY": API_KEY}
    exec(code.replace("http://localhost:8000", speech_server.url), names)
    assert "first sentence" in names["answer"].text.lower()


def test_the_lines_about_embeddings(speech_server: Server, tmp_path: Path) -> None:
    (by_curl,) = blocks("bash", "Embeddings")
    (by_sdk,) = blocks("python", "Embeddings")
    names: dict[str, Any] = {"KEY": API_KEY}
    exec(by_sdk.replace("http://localhost:8000", speech_server.url), names)
    vectors = [item.embedding for item in names["answer"].data]
    told = json.loads(_shell(by_curl, speech_server, tmp_path))["data"]
    assert len(vectors[0]) == len(vectors[1]) == 384
    assert [item["embedding"] for item in told] == [pytest.approx(v, abs=1e-6) for v in vectors]


def test_the_task_that_the_readme_adds(tmp_path: Path) -> None:
    (code,) = blocks("python", "Add a task")
    (tmp_path / "readme_task.py").write_text(code)
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(tmp_path)])
    settings = {"ONEBOX_PLUGINS": "readme_task", "PYTHONPATH": path}
    with (
        running_server(tmp_path / "data", ROOT / "ai-models", command=APP, **settings) as own,
        own.client() as client,
    ):
        body = {"prompt": "a black circle on a white background"}
        answer = client.post("/v1/tasks/invert", json=body, headers={"Accept": "image/png"})
    image = Image.open(io.BytesIO(answer.content))
    assert dominant_colours(image.convert("RGB")) == ("white", "black")


def _shell(code: str, server: Server, folder: Path) -> str:
    code = code.replace("localhost:8000", server.url.removeprefix("http://"))
    environment = {**os.environ, "KEY": API_KEY}
    done = subprocess.run(
        ["bash", "-c", code],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
