"""The README's examples, run as they stand."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from PIL import Image

from onebox.starter.shapes_score import dominant_colours
from tests.e2e.conftest import APP
from tests.support.server import API_KEY, ROOT, Server, running_server

README = (ROOT / "README.md").read_text(encoding="utf-8")


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
