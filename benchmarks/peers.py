"""The servers that a benchmark asks: Onebox on dummy models, and its peers, each in processes of
its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from benchmarks.gateway import free_port
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import ROOT, Server, running_server, wait_for

PLUGIN = "tests.support.dummy_plugin"
DUMMY = "dummy"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server. `pid` is the process that owns HTTP."""

    name: str
    host: str
    port: int
    pid: int


@contextlib.contextmanager
def onebox(models: Path | None = None, **settings: str) -> Iterator[Server]:
    """Onebox as it is usually run, on `models` or else on one dummy checkpoint.

    Its log goes to a file, as an operator's does: written at its usual level, but not read here.
    """
    with tempfile.TemporaryDirectory() as folder:
        if models is None:
            models = Path(folder) / "models"
            dummy_checkpoint(models / DUMMY)
            settings = {"ONEBOX_PLUGINS": PLUGIN, **settings}
        log = Path(folder) / "onebox.log"
        command = ("sh", "-c", 'exec "$0" -m onebox serve 2>"$1"', sys.executable, str(log))
        try:
            with running_server(
                Path(folder) / "data", models, command=command, **settings
            ) as server:
                yield server
        except Exception:
            if log.exists():
                print("".join(log.read_text().splitlines(keepends=True)[-20:]), file=sys.stderr)
            raise


def peer_of(server: Server) -> Peer:
    address = urlsplit(server.url)
    assert address.hostname is not None
    assert address.port is not None
    return Peer("onebox", address.hostname, address.port, server.process.pid)


@contextlib.contextmanager
def bare_route() -> Iterator[Peer]:
    """A FastAPI route and nothing else, in one process."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.bare_app", str(port)]
    with running_peer(command, port) as pid:
        yield Peer("bare FastAPI", "127.0.0.1", port, pid)


@contextlib.contextmanager
def litserve(python: Path) -> Iterator[Peer]:
    """LitServe under the interpreter given, which has it."""
    port = free_port()
    command = [str(python), str(ROOT / "benchmarks/litserve_app.py"), str(port)]
    with running_peer(command, port) as pid:
        yield Peer("LitServe", "127.0.0.1", port, pid)


@contextlib.contextmanager
def running_peer(
    command: Sequence[str], port: int, settings: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server as a process group of its own, ended as one. Gives its process id.

    `settings` are environment variables beside those of this process.
    """
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **(settings or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_for(lambda: _answers(process, port), START_TIMEOUT_S)
            yield process.pid
        except Exception:
            output.seek(0)
            print(output.read()[-2000:].decode(errors="replace"), file=sys.stderr)
            raise
        finally:
            _end(process)


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    if process.poll() is not None:
        raise RuntimeError(f"{process.args!r} ended with {process.returncode} while starting")
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).status_code == 200
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, then end what is left of its group. It may be stopped by SIGSTOP."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
