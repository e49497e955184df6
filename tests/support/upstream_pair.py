"""A server and a second one behind it, whose models it offers as its own; and one that is wrong."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.families import tiny_encoders, tiny_models, tiny_voices
from tests.families.tiny_language_models import language_model
from tests.support.ports import free_port
from tests.support.server import (
    ADMIN_KEY,
    API_KEY,
    START_TIMEOUT_S,
    Server,
    running_server,
    wait_for,
)
from tests.support.stand_in import StandIn
from tests.support.talking import ONE_THREAD
from tests.support.tiny_listener import listening_model

KEY = "ob-the-key-of-the-other-server-0123456789"
TASKS = {
    "llama": ["chat", "completion"],
    "bert": ["embeddings"],
    "sd": ["text-to-image", "image-to-image", "inpainting"],
    "voice": ["speech"],
    "ears": ["transcription"],
}
TOML = """
[[upstream]]
name = "far"
kind = "openai"
base_url = "{far}/v1"
api_key_env = "FAR_KEY"
read_timeout = 120
retries = 0
[upstream.models]
{models}
[[upstream]]
name = "wrong"
kind = "openai"
base_url = "{wrong}"
api_key_env = "FAR_KEY"
retries = 0
models = {{wrong-llama = {{model = "x"}}}}
[[upstream]]
name = "mirror"
kind = "openai"
base_url = "http://127.0.0.1:{port}/v1"
api_key_env = "OWN_KEY"
models = {{mirror = {{model = "mirror"}}}}
"""


@dataclass
class Pair:
    far: Server
    near: Server


@contextlib.contextmanager
def running_stand_in() -> Iterator[StandIn]:
    """A server that answers a test's `replies`, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = StandIn()
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    yield server
    asyncio.run_coroutine_threadsafe(server.__aexit__(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@contextlib.contextmanager
def running_pair(folder: Path, wrong: StandIn) -> Iterator[Pair]:
    """`near` knows all models of `far`, each with `far-` before its name; `spare` is its own.

    Their workers start while the models are being made.
    """
    there, here = folder / "there", folder / "here"
    there.mkdir()
    here.mkdir()
    models = "\n".join(
        f"far-{name} = {{model = {name!r}, tasks = {tasks!r}}}" for name, tasks in TASKS.items()
    )
    port = free_port()
    common: dict[str, Any] = {**ONE_THREAD, "wait_ready": False}
    keys = {"API_KEYS": f"{API_KEY},{KEY}"}
    settings = {
        "ONEBOX_ROOT": str(folder),
        "PORT": str(port),
        "FAR_KEY": KEY,
        "OWN_KEY": API_KEY,
        "ONEBOX_FALLBACKS": "far-llama=spare",
        "LOG_LEVEL": "DEBUG",
    }
    with running_server(folder / "far", there, **common, **keys) as far:
        told = TOML.format(far=far.url, models=models, wrong=wrong.url, port=port)
        (folder / "onebox.toml").write_text(told)
        with running_server(folder / "near", here, **common, **settings) as near:
            make_models(there)
            language_model(here / "spare", max_position_embeddings=4096)
            # `near` has `spare` and one model of each other upstream besides.
            for server, number in ((far, len(TASKS)), (near, len(TASKS) + 3)):
                with server.client(ADMIN_KEY) as chief:
                    wait_for(partial(is_ready, chief, number), START_TIMEOUT_S)
            yield Pair(far, near)


def is_ready(chief: httpx.Client, models: int) -> bool:
    assert chief.post("/v1/models/rescan").status_code == 200
    told = chief.get("/v1/models").json()["data"]
    found = [model for model in told if model["status"] == "ready"]
    return len(found) >= models and chief.get("/ready").status_code == 200


def make_models(folder: Path) -> None:
    language_model(folder / "llama", max_position_embeddings=4096)
    tiny_encoders.encoder(folder / "bert", "bert")
    tiny_models.stable_diffusion(folder / "sd")
    tiny_voices.vits(folder / "voice")
    listening_model(folder / "ears")
