"""Servers on the card of this machine, with tiny random models; nothing runs where there is none.

`ONEBOX_TEST_CARD=cpu python3 test.py gpu` tries the tests themselves on a machine without one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.families import tiny_encoders
from tests.families.tiny_language_models import language_model
from tests.families.tiny_models import stable_diffusion
from tests.support.server import Server, running_server
from tests.support.tiny_listener import listening_model

NO_CARD = (
    "no CUDA card and no MPS device that torch can use: `onebox doctor` says why; "
    "ONEBOX_TEST_CARD=cpu tries these tests without one"
)
# What `onebox.toml` of each way to keep the same weights says.
WAYS = {
    "plain": "",
    "fp8": 'quantization = "fp8"\n',
    "cpu_offload": 'memory = ["cpu_offload"]\n',
    "sequential_offload": 'memory = ["sequential_offload"]\n',
    "vae_tiling": 'memory = ["vae_tiling", "vae_slicing", "attention_slicing"]\n',
    "compiled": "compile = true\n",
    "4bit": 'quantization = "4bit"\n',
    "8bit": 'quantization = "8bit"\n',
}
FULL = 'dtype = "float32"\n'


@pytest.fixture(scope="session", autouse=True)
def card() -> str:
    """The id of the device that is tested."""
    named = os.environ.get("ONEBOX_TEST_CARD")
    found = named or _found()
    if found is None:
        pytest.skip(NO_CARD)
    return found


def _found() -> str | None:
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else None


@pytest.fixture(scope="session")
def kind(card: str) -> str:
    return card.partition(":")[0]


@pytest.fixture(scope="session")
def models(card: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One picture model in many ways, all in full precision, and one model of each other kind."""
    folder = tmp_path_factory.mktemp("models")
    original = stable_diffusion(tmp_path_factory.mktemp("original") / "tiny")
    for number, (name, text) in enumerate(WAYS.items(), 1):
        variant(original, folder / name, FULL + text, number)
    variant(original, folder / "usual", "", 0)
    for made in (
        language_model(folder / "llama", max_position_embeddings=4096),
        listening_model(folder / "whisper"),
        tiny_encoders.encoder(folder / "bert", "bert"),
    ):
        (made / "onebox.toml").write_text(FULL)
    return folder


def variant(original: Path, folder: Path, toml: str, number: int) -> Path:
    """The same weights in a folder of other contents, for equal ones would be one model."""
    shutil.copytree(original, folder)
    with (folder / "model_index.json").open("a") as index:
        index.write("\n" * number)
    (folder / "onebox.toml").write_text(toml)
    return folder


@pytest.fixture(scope="session")
def server(card: str, models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("card") / "data"
    with running_server(data_dir, models, ONEBOX_DEVICE=card) as running:
        yield running


@pytest.fixture(scope="session")
def peer(models: Path, card: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The same on the CPU."""
    data_dir = tmp_path_factory.mktemp("peer") / "data"
    with running_server(data_dir, models, ONEBOX_DEVICE="cpu") as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client
