"""Those that `benchmarks.speech` lets transcribe: Onebox through HTTP, and its peers in Python."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.gateway import free_port
from benchmarks.peers import onebox
from tests.support.server import ROOT, Server

OURS = "Onebox"
ROUTE = "/v1/audio/transcriptions"
TIMEOUT_S = 1800
OFFLINE = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@dataclass(frozen=True, slots=True)
class Heard:
    seconds: float
    text: str


@dataclass(frozen=True, slots=True)
class Listener:
    """`transcribe` takes a file. Only one listener works at a time."""

    name: str
    transcribe: Callable[[Path], Heard]


@contextlib.contextmanager
def onebox_on(model: Path, threads: int) -> Iterator[tuple[Server, Listener]]:
    """As it is usually run, on the folder that the model lies in."""
    settings = {"PORT": str(free_port()), "OMP_NUM_THREADS": str(threads)}
    with onebox(model.parent, **settings) as server:
        yield server, Listener(OURS, lambda file: ask(server, model.name, file))


def ask(server: Server, model: str, file: Path) -> Heard:
    """From the first byte of the upload to the last of the answer."""
    with server.client() as client, file.open("rb") as sound:
        client.timeout = TIMEOUT_S
        started = time.perf_counter()
        answer = client.post(
            ROUTE,
            data={"model": model, "response_format": "json"},
            files={"file": (file.name, sound, "audio/wav")},
        )
        seconds = time.perf_counter() - started
    if answer.status_code != 200:
        raise RuntimeError(f"{ROUTE} answered {answer.status_code}: {answer.text[:300]}")
    return Heard(seconds, answer.json()["text"])


@contextlib.contextmanager
def peer(name: str, kind: str, python: Path, model: Path, threads: int) -> Iterator[Listener]:
    """A peer in its own process, stopped (SIGSTOP) while it is not asked."""
    script = str(ROOT / "benchmarks/speech_peer.py")
    process = subprocess.Popen(
        [str(python), script, kind, str(model), str(threads)],
        env={**os.environ, **OFFLINE, "OMP_NUM_THREADS": str(threads)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=sys.stderr,
        text=True,
    )
    try:
        answer(process)
        process.send_signal(signal.SIGSTOP)
        yield Listener(name, lambda file: ask_peer(process, file))
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def ask_peer(process: subprocess.Popen[str], file: Path) -> Heard:
    assert process.stdin is not None
    process.send_signal(signal.SIGCONT)
    try:
        process.stdin.write(f"{file}\n")
        process.stdin.flush()
        told = answer(process)
    finally:
        process.send_signal(signal.SIGSTOP)
    return Heard(told["seconds"], told["text"])


def answer(process: subprocess.Popen[str]) -> Any:
    """The next line that is an answer; libraries write lines of their own."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("{"):
            return json.loads(line)
    raise RuntimeError(f"{process.args!r} ended with {process.wait()}")
