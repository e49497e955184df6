"""The real image model as it would come from elsewhere: one pickled file, and a pickled folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.support.pictures import pixels
from tests.support.server import ROOT, Server, running_server
from tests.support.single_files import original_tensors

MODEL = ROOT / "ai-models" / "onebox-shapes"
BODY = {"prompt": "a red circle on a blue background", "seed": 5, "steps": 4}


def pickled_folder(place: Path) -> None:
    shutil.copytree(MODEL, place)
    for file in place.rglob("*.safetensors"):
        name = file.name.replace(".safetensors", ".bin")
        name = "pytorch_model.bin" if name == "model.bin" else name
        torch.save(load_file(file), file.with_name(name))
        file.unlink()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    models = tmp_path_factory.mktemp("models")
    shutil.copytree(MODEL, models / "safe")
    pickled_folder(models / "folder")
    weights = {"state_dict": original_tensors(MODEL), "epoch": 3, "global_step": 100}
    torch.save(weights, models / "new.ckpt")
    torch.save(weights, models / "old.pt", _use_new_zipfile_serialization=False)
    with running_server(tmp_path_factory.mktemp("server") / "data", models) as running:
        yield running


def drawn(client: httpx.Client, name: str) -> np.ndarray:
    answer = client.post("/v1/images/generations", json=BODY | {"model": name})
    assert answer.status_code == 200, answer.text
    return pixels(answer.json()["data"][0]["b64_json"])


def test_every_form_draws_the_same_picture_bit_for_bit(server: Server) -> None:
    with server.client() as client:
        expected = drawn(client, "safe")
        for name in ("folder", "new", "old"):
            assert np.array_equal(drawn(client, name), expected), name
            model = client.get(f"/v1/models/{name}").json()
            assert "text-to-image" in model["tasks"]
            assert model["note"] is None
