"""One server on dummy models for the folder; tests that need other settings start their own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest
from pydantic import SecretStr

from onebox.services.access.tokens.tokens import Tokens
from tests.families import tiny_models, tiny_transformers
from tests.families.random_encoders import encoder_models
from tests.families.tiny_language_models import language_model
from tests.families.tiny_models import stable_diffusion
from tests.support.asking import Background
from tests.support.dummy_plugin import BATCHED, dummy_checkpoint
from tests.support.server import ADMIN_KEY, Server, running_server
from tests.support.talking import ONE_THREAD

PLUGIN = {"ONEBOX_PLUGINS": "tests.support.dummy_plugin"}
SECRET_KEY = "a-secret-for-tests-of-thirty-two-bytes"
MIB = 1024 * 1024


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


@pytest.fixture(scope="session")
def slow_cue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there must be something for the load of `slow` to end."""
    return tmp_path_factory.mktemp("cues") / "slow"


@pytest.fixture(scope="session")
def small_models(tmp_path_factory: pytest.TempPathFactory, slow_cue: Path) -> Path:
    folder = tmp_path_factory.mktemp("small-models")
    for name in ("one", "two", "three"):
        dummy_checkpoint(folder / name, resident_bytes=60 * MIB, load_s=0.05, called=name)
    dummy_checkpoint(folder / "pinned", resident_bytes=MIB)
    dummy_checkpoint(folder / "huge", resident_bytes=101 * MIB)
    dummy_checkpoint(folder / "slow", load_cue=str(slow_cue))
    dummy_checkpoint(folder / "off", resident_bytes=MIB, actual_bytes=2 * MIB)
    dummy_checkpoint(folder / "heavy", resident_bytes=80 * MIB, taken_bytes=80 * MIB)
    dummy_checkpoint(folder / "leaky", resident_bytes=81 * MIB, taken_bytes=80 * MIB, leaks=True)
    dummy_checkpoint(folder / "batched", model_type=BATCHED)
    (folder / "three" / "onebox.toml").write_text('idle_timeout = 0.1\naliases = ["drei"]\n')
    (folder / "pinned" / "onebox.toml").write_text("pin = true\n")
    return folder


@pytest.fixture(scope="session")
def small(small_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A budget of 100 MiB, where some models do not fit together."""
    data_dir = tmp_path_factory.mktemp("small") / "data"
    settings = {"ONEBOX_MEMORY_BUDGET": "100MiB", "ONEBOX_LEAK_LIMIT": "40MiB"}
    with running_server(
        data_dir, small_models, **PLUGIN, **settings, SECRET_KEY=SECRET_KEY
    ) as running:
        yield running


@pytest.fixture
def manager(small: Server) -> Iterator[httpx.Client]:
    """Of the small server: may infer and manage."""
    with small.client(
        Tokens(SecretStr(SECRET_KEY)).sign("manager", ("infer", "manage"), 3600)
    ) as client:
        yield client


@pytest.fixture
def in_background() -> Iterator[Background]:
    with ThreadPoolExecutor(32) as pool:
        yield pool.submit


@pytest.fixture
def chief(small: Server) -> Iterator[httpx.Client]:
    """Who may do everything on `small`."""
    with small.client(ADMIN_KEY) as client:
        yield client


@pytest.fixture(scope="session")
def talkers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random language models, one for each way to compute them."""
    folder = tmp_path_factory.mktemp("talkers")
    language_model(folder / "llama", max_position_embeddings=4096)
    for kind in ("gpt2", "mamba"):
        language_model(folder / kind, kind)
    return folder


@pytest.fixture(scope="session")
def chat_server(talkers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("chat") / "data"
    with running_server(data_dir, talkers, **ONE_THREAD, ONEBOX_MAX_SEQUENCES="8") as running:
        yield running


@pytest.fixture
def chat(chat_server: Server) -> Iterator[httpx.Client]:
    with chat_server.client() as client:
        yield client


@pytest.fixture
def sdk(chat_server: Server) -> Iterator[openai.OpenAI]:
    with chat_server.sdk() as client:
        yield client


@pytest.fixture(scope="session")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `encoder_models`."""
    return encoder_models(tmp_path_factory.mktemp("encoders"))


@pytest.fixture(scope="session")
def encoder_server(encoders: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("encoding") / "data"
    with running_server(data_dir, encoders, **ONE_THREAD) as running:
        yield running


@pytest.fixture
def encoding(encoder_server: Server) -> Iterator[httpx.Client]:
    with encoder_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def picture_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """With a tiny random model that draws."""
    folder = tmp_path_factory.mktemp("drawing")
    stable_diffusion(folder / "models" / "tiny")
    with running_server(folder / "data", folder / "models", **ONE_THREAD) as running:
        yield running


@pytest.fixture
def drawing(picture_server: Server) -> Iterator[httpx.Client]:
    with picture_server.client() as client:
        yield client


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny random pipelines. Tests put more beside them, and leave these two as they were."""
    folder = tmp_path_factory.mktemp("pipelines")
    tiny_models.stable_diffusion(folder / "sd")
    tiny_transformers.flux(folder / "flux")
    return folder


@pytest.fixture(scope="session")
def pipeline_server(pipelines: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data_dir = tmp_path_factory.mktemp("drawing") / "data"
    with running_server(data_dir, pipelines, **ONE_THREAD) as running:
        yield running


@pytest.fixture
def draughtsman(pipeline_server: Server) -> Iterator[httpx.Client]:
    with pipeline_server.client() as client:
        yield client
