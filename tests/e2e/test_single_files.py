"""The model that ships with the project, written as one file, draws the very same pictures."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.support.pictures import pixels
from tests.support.server import ROOT, Server, running_server
from tests.support.single_files import original_tensors, single_file

APP = (sys.executable, str(ROOT / "app.py"))
FOLDER = "onebox-shapes"
PROMPT = "a red circle on a blue background"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    import torch

    root = tmp_path_factory.mktemp("single")
    shutil.copytree(ROOT / "ai-models" / FOLDER, root / "models" / FOLDER)
    whole = root / "models" / FOLDER
    single_file(whole, root / "models" / "one.safetensors")
    single_file(whole, root / "models" / "half.safetensors", without=("vae",))
    # As training tools wrote them.
    weights = {"state_dict": original_tensors(whole), "epoch": 3, "global_step": 100}
    torch.save(weights, root / "models" / "old.ckpt")
    with running_server(root / "data", root / "models", command=APP) as running:
        yield running


def draw(client: httpx.Client, model: str, **fields: object) -> bytes:
    body = {"model": model, "prompt": PROMPT, "seed": 3, "steps": 8, "deterministic": True}
    answer = client.post("/v1/tasks/text-to-image", json={**body, **fields})
    assert answer.status_code == 200, answer.text
    (drawn,) = answer.json()["outputs"]
    image = pixels(drawn["b64_json"])
    assert image.shape == (256, 256, 3)
    return image.tobytes()


@pytest.mark.parametrize("name", ["one.safetensors", "half", "old.ckpt"])
def test_a_single_file_draws_what_its_folder_draws_bit_for_bit(server: Server, name: str) -> None:
    with server.client() as client:
        assert draw(client, name) == draw(client, FOLDER)


def test_what_a_file_lacks_and_what_it_takes_is_listed(server: Server) -> None:
    with server.client() as client:
        half = client.get("/v1/models/half").json()
        assert "inpainting" in half["tasks"]
        assert half["kind"] == "StableDiffusionPipeline"
