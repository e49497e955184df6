"""The servers that `benchmarks.chat` asks, each started as its own documentation says."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.chat_client import Asked
from benchmarks.gateway import free_port
from benchmarks.peers import onebox, running_peer
from tests.support.server import API_KEY

OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
# It would take 60 % of the free memory for keys and values; this is still more than is used.
CACHE_SHARE = "0.1"
SLOTS = 16
SLOT_TOKENS = 1024


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs. One with a `group` is stopped (SIGSTOP) while others are asked."""

    asked: Asked
    group: int | None = None

    @contextlib.contextmanager
    def awake(self) -> Iterator[Asked]:
        if self.group is None:
            yield self.asked
            return
        os.killpg(self.group, signal.SIGCONT)
        try:
            yield self.asked
        finally:
            os.killpg(self.group, signal.SIGSTOP)


@contextlib.contextmanager
def onebox_on(model: Path, **settings: str) -> Iterator[Running]:
    """Onebox as it is usually run, on the folder that the model lies in."""
    port = free_port()
    with onebox(model.parent, PORT=str(port), **settings):
        yield Running(Asked("Onebox", port, model.name, API_KEY, _without_end))


def _without_end(tokens: int) -> dict[str, Any]:
    return {"temperature": 0, "ignore_eos": True}


@contextlib.contextmanager
def transformers_serve(
    program: Path, model: Path, *, continuous: bool, dtype: str = "bfloat16", device: str = "cpu"
) -> Iterator[Running]:
    port = free_port()
    command = [str(program), "serve", str(model), "--dtype", dtype, "--device", device]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    if continuous:
        command += ["--continuous-batching", "--cb-max-memory-percent", CACHE_SHARE]
    name = "transformers serve" + (" --continuous-batching" if continuous else "")
    with running_peer(command, port, OFFLINE) as pid:
        yield Running(Asked(name, port, str(model), None, _own_generation), pid)


def _own_generation(tokens: int) -> dict[str, Any]:
    """No token has the number -1, so none ends an answer."""
    own = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    return {"generation_config": json.dumps(own)}


@contextlib.contextmanager
def llama_server(program: Path, model: Path, kind: str, threads: int) -> Iterator[Running]:
    port = free_port()
    command = [str(program), "-m", str(model), "-t", str(threads), "--offline", "--no-webui"]
    command += ["-np", str(SLOTS), "-c", str(SLOTS * SLOT_TOKENS)]
    command += ["--host", "127.0.0.1", "--port", str(port)]
    with running_peer(command, port) as pid:
        yield Running(Asked(f"llama-server {kind}", port, model.name, None, _without_end), pid)
