"""A real server in a process of its own, for tests that go through HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil

ROOT = Path(__file__).parents[2]
API_KEY = "test-key-infer"
ADMIN_KEY = "test-key-admin"
START_TIMEOUT_S = 300.0
# Only a test that fails waits so long.
PATIENCE_S = 120.0
ADDRESS = re.compile(r"listening on (http://\S+)")


@dataclass
class Server:
    """A running server. `lines` is everything it printed so far, logs and all."""

    process: subprocess.Popen[str]
    data_dir: Path
    lines: list[str] = field(default_factory=list)
    url: str = ""

    def client(self, key: str | None = API_KEY, **options: Any) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=120, **options)

    def sdk(self) -> openai.OpenAI:
        """To be closed by `with`."""
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=API_KEY, max_retries=0)

    def async_sdk(self) -> openai.AsyncOpenAI:
        """To be closed by `async with`."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=API_KEY, max_retries=0)

    def worker(self) -> psutil.Process:
        """The worker process."""
        (worker,) = self.workers()
        return worker

    def workers(self) -> list[psutil.Process]:
        """The worker processes that run now, the oldest first."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        workers = [child for child in children if _is_worker(child)]
        return sorted(workers, key=lambda worker: worker.pid)

    def log(self) -> list[str]:
        """All that was printed until now; the last of it may still be on its way to `lines`."""
        mark = f"mark-{secrets.token_hex(8)}"
        with self.client(None) as client:
            client.get("/no-such-page", headers={"X-Request-ID": mark})
        wait_for(lambda: any(mark in line for line in list(self.lines)))
        return list(self.lines)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        self.process.terminate()
        return self.process.wait(timeout_s)


@contextlib.contextmanager
def running_server(
    data_dir: Path,
    models: Path,
    *,
    command: Sequence[str] = (sys.executable, "-m", "onebox", "serve"),
    wait_ready: bool = True,
    **settings: str,
) -> Iterator[Server]:
    """Start a server, give it to the body, stop it. `settings` are environment variables."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("ONEBOX_")
    }
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        "PYTHONUNBUFFERED": "1",
        "HOST": "127.0.0.1",
        "PORT": "0",
        "DATA_DIR": str(data_dir),
        "MODEL_DIRS": str(models),
        "API_KEYS": API_KEY,
        "ONEBOX_ADMIN_KEYS": ADMIN_KEY,
        "ONEBOX_DEVICE": "cpu",
        "ONEBOX_STARTER": "off",
        **settings,
    }
    environment = {name: value for name, value in environment.items() if value is not None}
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=data_dir.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    server = Server(process, data_dir)
    reader = threading.Thread(target=_read, args=[server], daemon=True)
    reader.start()
    try:
        server.url = wait_for(lambda: _address(server), START_TIMEOUT_S)
        if wait_ready:
            with server.client(None) as client:
                wait_for(lambda: client.get("/ready").status_code == 200, START_TIMEOUT_S)
        yield server
    except BaseException:
        print("".join(server.lines[-80:]))
        raise
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(40)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        reader.join(5)


def wait_for(condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """Ask until the answer is truthy, and return it. Fails the test after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not true within {timeout_s:g} s")
        time.sleep(0.02)
    return answer


def has_ended(process: psutil.Process) -> bool:
    """Also one that nobody has asked how it ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "onebox.runtime.worker" in process.cmdline()
    except psutil.Error:
        return False  # it has ended since it was listed, or has no command line any more


def _read(server: Server) -> None:
    assert server.process.stdout is not None
    for line in server.process.stdout:
        server.lines.append(line)


def _address(server: Server) -> str | None:
    if server.process.poll() is not None:
        raise AssertionError("the server ended while starting:\n" + "".join(server.lines[-40:]))
    found = ADDRESS.search("".join(server.lines))
    return found[1] if found else None
