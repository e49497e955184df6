"""The README's examples, run as they stand."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onebox.starter.shapes_score import dominant_colours
from tests.e2e.conftest import APP
from tests.support.server import API_KEY, ROOT, Server, running_server
from tests.support.starter import minilm_folder, u2netp_folder, voice_folder, whisper_folder

README = (ROOT / "README.md").read_text(encoding="utf-8")
CUP = ROOT / "tests" / "data" / "cutouts" / "coffee.png"


@pytest.fixture(scope="module")
def speech_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a voice, with Whisper, and with an encoder of texts."""
    whisper = whisper_folder()
    folders = ",".join(map(str, (whisper, voice_folder(), minilm_folder())))
    data_dir = tmp_path_factory.mktemp("speech") / "data"
    with running_server(data_dir, whisper, command=APP, MODEL_DIRS=folders) as running:
        yield running


@pytest.fixture(scope="module")
def picture_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the model that draws, and the one that cuts out."""
    models = u2netp_folder()
    data_dir = tmp_path_factory.mktemp("pictures") / "data"
    folders = f"{ROOT / 'ai-models'},{models}"
    with running_server(data_dir, models, command=APP, MODEL_DIRS=folders) as running:
        yield running


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """A folder with the pictures that the README speaks of; the mask's left half is transparent."""
    Image.new("RGB", (256, 256), "white").save(tmp_path / "picture.png")
    mask = Image.new("RGBA", (256, 256), "white")
    mask.paste((0, 0, 0, 0), (0, 0, 128, 256))
    mask.save(tmp_path / "mask.png")
    shutil.copy(CUP, tmp_path / "cup.png")
    return tmp_path


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


def test_the_curl_lines_about_images(picture_server: Server, album: Path) -> None:
    edit, product = blocks("bash", "Images")
    (item,) = json.loads(_shell(edit, picture_server, album))["data"]
    edited = Image.open(io.BytesIO(base64.b64decode(item["b64_json"])))
    assert edited.crop((128, 0, 256, 256)).getcolors() == [(128 * 256, (255, 255, 255))]
    told = json.loads(_shell(product, picture_server, album))
    width, height = Image.open(CUP).size
    assert told["size"] == f"{max(width, height)}x{max(width, height)}"
    assert told["data"][0]["confidence"] > 0.9
    assert told["data"][0]["url"].startswith(picture_server.url)


def test_the_sdk_lines_about_images(
    picture_server: Server, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = blocks("python", "Images")
    names: dict[str, Any] = {"KEY": API_KEY}
    monkeypatch.chdir(album)
    exec(code.replace("http://localhost:8000", picture_server.url), names)
    assert names["edited"].size == "256x256"
    kinds = [kind.removeprefix("image_generation.") for kind, _ in names["events"]]
    assert kinds == ["partial_image", "partial_image", "completed"]
    drawn = Image.open(io.BytesIO(base64.b64decode(names["events"][-1][1])))
    assert dominant_colours(drawn.convert("RGB")) == ("green", "white")


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
def test_the_lines_about_videos_and_jobs(
    picture_server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (by_sdk,) = blocks("python", "Videos and jobs")
    (by_curl,) = blocks("bash", "Videos and jobs")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"KEY": API_KEY}
    exec(by_sdk.replace("http://localhost:8000", picture_server.url), names)
    assert (names["video"].status, names["video"].seconds) == ("completed", "2")
    assert (tmp_path / "circle.mp4").read_bytes()[4:8] == b"ftyp"
    job = json.loads(_shell(by_curl, picture_server, tmp_path))
    assert (job["task"], job["request"]["n"]) == ("text-to-image", 4)


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
