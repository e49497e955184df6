"""The API guide's examples, run as they stand: each section with a folder of its own."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from onebox.starter.shapes_score import dominant_colours
from tests.support.server import API_KEY, ROOT, Server, running_server
from tests.support.starter import minilm_folder, smollm2_folder, voice_folder, whisper_folder
from tests.support.talking import ONE_THREAD

GUIDE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```(bash|python)\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
BEGINNING = "Before you start"
# High enough to be in nobody's way, so that answers tell how limits stand.
LIMITS = {"ONEBOX_LIMIT_TEXT": "1000", "ONEBOX_LIMIT_OTHER": "1000"}
# How long a block may wait for what it polls.
PATIENCE_S = 240.0

# What a block printed, the names that Python blocks have set so far, and the section's folder.
Check = Callable[[str, Mapping[str, Any], Path], object]


@pytest.fixture(scope="module")
def onebox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With the models that ship, and the starters that the guide names."""
    starters = (smollm2_folder, minilm_folder, whisper_folder, voice_folder)
    folders = ",".join(map(str, (ROOT / "ai-models", *(fetch() for fetch in starters))))
    data_dir = tmp_path_factory.mktemp("guide") / "data"
    settings = {**LIMITS, **ONE_THREAD, "MODEL_DIRS": folders}
    with running_server(data_dir, data_dir, **settings) as running:
        yield running


def sections() -> dict[str, list[tuple[str, str]]]:
    """Language and code of each block, by the heading that they stand under."""
    _, *parts = re.split(r"^## (.*)\n", GUIDE, flags=re.MULTILINE)
    found = {
        title: FENCE.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)
    }
    return {title: blocks for title, blocks in found.items() if blocks}


def picture(data: bytes | str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(data) if isinstance(data, str) else data))


def events(printed: str) -> list[str]:
    return re.findall(r"^event: (\S+)", printed, flags=re.MULTILINE)


def is_red_on_blue(path: Path) -> bool:
    return dominant_colours(Image.open(path).convert("RGB")) == ("red", "blue")


def rest_is_as_it_was(image: Image.Image, folder: Path) -> bool:
    """The mask's right half is solid: there nothing was drawn."""
    box = (128, 0, 256, 256)
    old = Image.open(folder / "picture.png").convert("RGB").crop(box)
    return image.convert("RGB").crop(box).tobytes() == old.tobytes()


def headers_tell_limits(printed: str) -> bool:
    return "x-ratelimit-limit-requests: 1000" in printed.lower()


CHECKS: dict[str, list[Check]] = {
    "Authenticate": [
        lambda out, *_: json.loads(out)["data"],
        lambda out, *_: json.loads(out)["error"]["code"] == "invalid_api_key",
    ],
    "Models": [
        lambda out, *_: "text-to-image" in json.loads(out)["tasks"],
        lambda _, names, __: {"onebox-shapes", "SmolLM2-135M-Instruct"} <= set(names["names"]),
    ],
    "Chat": [
        lambda out, *_: json.loads(out)["choices"][0]["message"]["content"],
        lambda _, names, __: names["answer"].choices[0].message.content,
        lambda _, names, __: names["response"].output_text,
        lambda out, *_: '"usage":{' in out and out.rstrip().endswith("data: [DONE]"),
        lambda _, names, __: names["told"],
        lambda _, names, __: 0 <= names["person"]["age"] <= 120,
        lambda _, names, __: names["city"] in ("Bern", "Rome"),
    ],
    "Embeddings": [
        lambda out, *_: len(json.loads(out)["data"][1]["embedding"]) == 384,
        lambda _, names, __: [len(vector) for vector in names["vectors"]] == [384, 384],
        lambda out, *_: json.loads(out)["scores"][0] > json.loads(out)["scores"][1] + 0.3,
    ],
    "Pictures": [
        lambda _, __, folder: is_red_on_blue(folder / "picture.png"),
        lambda _, names, __: picture(names["picture"]).size == (256, 256),
        lambda out, *_: events(out)[-1] == "result" and "progress" in events(out),
        lambda out, _, folder: rest_is_as_it_was(
            picture(json.loads(out)["data"][0]["b64_json"]), folder
        ),
        lambda _, names, folder: rest_is_as_it_was(
            picture(names["edited"].data[0].b64_json), folder
        ),
    ],
    "Speech and transcription": [
        lambda _, __, folder: (folder / "speech.mp3").stat().st_size > 2000,
        lambda out, *_: "train" in json.loads(out)["text"].lower(),
        lambda _, names, __: "morning" in names["heard"].text.lower() and names["heard"].words,
    ],
    "Videos": [lambda _, __, folder: (folder / "circle.mp4").read_bytes()[4:8] == b"ftyp"],
    "Jobs": [
        lambda out, _, folder: (
            events(out)[-1] == "completed" and Image.open(folder / "job.png").size == (256, 256)
        ),
        lambda out, *_: len(json.loads(out)["data"][0]["embedding"]) == 384,
    ],
    "Files and batches": [
        lambda _, names, __: (
            {json.loads(line)["custom_id"] for line in names["results"]} == {"0", "1"}
        ),
        lambda out, *_: (
            {file["purpose"] for file in json.loads(out)["data"]} == {"batch", "batch_output"}
        ),
    ],
    "Errors": [
        lambda out, *_: json.loads(out)["error"]["param"] == "n",
        lambda _, names, __: names["code"] == "model_not_found" and names["request_id"],
    ],
    "When to try again": [lambda out, *_: len(out.split()) == 2 and len(set(out.split())) == 1],
    "Rate limits": [
        lambda out, *_: headers_tell_limits(out),
        lambda _, names, __: 0 < int(names["left"]) < 1000,
    ],
    "Usage": [
        lambda out, *_: json.loads(out)["object"] == "usage",
        lambda out, *_: json.loads(out)["object"] == "quotas",
    ],
}


def test_every_block_has_a_check() -> None:
    blocks = {title: len(found) for title, found in sections().items() if title != BEGINNING}
    assert {title: len(checks) for title, checks in CHECKS.items()} == blocks


@pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
@pytest.mark.parametrize("title", CHECKS)
def test_a_section_of_the_guide(
    title: str, onebox: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, shell), (_, python) = sections()[BEGINNING]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONEBOX", onebox.url)
    monkeypatch.setenv("KEY", API_KEY)
    monkeypatch.setattr(time, "sleep", impatient(time.sleep))
    mask = Image.new("RGBA", (256, 256), "white")
    mask.paste((0, 0, 0, 0), (0, 0, 128, 256))
    mask.save("mask.png")
    names: dict[str, Any] = {}
    exec(python, names)
    with names["client"]:
        for (language, code), check in zip(sections()[title], CHECKS[title], strict=True):
            out = run(shell + code) if language == "bash" else exec(code, names) or ""
            assert check(out, names, tmp_path), f"{code}\n{out}"


def impatient(sleep: Callable[[float], None]) -> Callable[[float], None]:
    """A block that waits for ever fails its test instead."""
    left = PATIENCE_S

    def sleep_within(seconds: float) -> None:
        nonlocal left
        left -= seconds
        assert left > 0, f"not there after {PATIENCE_S:g} s"
        sleep(seconds)

    return sleep_within


def run(code: str) -> str:
    command = ["bash", "-euo", "pipefail", "-c", code]
    done = subprocess.run(
        command, env=os.environ, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    return done.stdout
