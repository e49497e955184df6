"""10,000 queued jobs: how fast they are taken in, found again, and taken up after a restart.

    python -m benchmarks.jobs [--jobs 10000] [--reads 4000] [--restarts 4]

The server is Onebox as it is usually run, on a dummy model; one data folder for all:

* submissions: `--jobs` of `POST /v1/jobs` by 32 clients, each on one connection, while jobs run;
* reads: `GET /v1/jobs/{id}` of jobs taken at random by 1 and by 8 clients, while jobs run;
* restarts: the server is stopped by SIGKILL and SIGTERM in turns; from the start of the new process
  to its first 200 of `/health`, and to its first answer about a job.

A job takes a second, so that nearly all of them wait all the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from benchmarks.figures import percentile, table
from benchmarks.gateway import free_port
from benchmarks.peers import DUMMY, PLUGIN
from benchmarks.raw_http import Answer, Connection, request_bytes, run_fast
from tests.support.dummy_plugin import dummy_checkpoint
from tests.support.server import API_KEY, ROOT

HOST = "127.0.0.1"
SENDERS = 32
READERS = (1, 8)
START_TIMEOUT_S = 120.0
JOB = {"task": "steps", "model": DUMMY, "input": {"steps": 10, "step_s": 0.1}}
PAGE = 100
TARGET_RATE = 500.0
TARGET_READ_MS = 20.0
TARGET_RESTART_S = 2.0


@dataclass(slots=True)
class Times:
    """What clients saw: seconds of each request, and the statuses."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    wall_s: float = 0.0

    def ms(self, share: float) -> str:
        return f"{percentile(self.seconds, share) * 1000:.1f}"


@dataclass(frozen=True, slots=True)
class Restart:
    stopped_by: str
    health_s: float
    job_s: float


class Onebox:
    """The server on one folder, which can be stopped and started again."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = {name: text for name, text in os.environ.items() if "ONEBOX" not in name}
        environment |= {
            "HOST": HOST,
            "PORT": str(self.port),
            "DATA_DIR": str(self._folder / "data"),
            "MODEL_DIRS": str(self._folder / "models"),
            "API_KEYS": API_KEY,
            "ONEBOX_PLUGINS": PLUGIN,
            "ONEBOX_DEVICE": "cpu",
            "ONEBOX_STARTER": "off",
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
        }
        with (self._folder / "onebox.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "onebox", "serve"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def stop(self, by: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(by)
            self._process.wait()

    def until_answered(self, path: str) -> float:
        """When that is answered with 200; it is asked every few ms."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        end = time.perf_counter() + START_TIMEOUT_S
        with httpx.Client(base_url=f"http://{HOST}:{self.port}", headers=headers) as client:
            while time.perf_counter() < end and self._runs():
                with contextlib.suppress(httpx.TransportError):
                    if client.get(path).status_code == 200:
                        return time.perf_counter()
                time.sleep(0.002)
        log = (self._folder / "onebox.log").read_text()
        raise RuntimeError(f"{path} was not answered in time:\n{log[-2000:]}")

    def _runs(self) -> bool:
        return self._process is not None and self._process.poll() is None


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as name, folder_with_model(Path(name)) as server:
        server.start()
        server.until_answered("/ready")
        sent = run_fast(submit(server.port, arguments.jobs))
        print(f"sent, by status: {dict(sent.statuses)}", flush=True)
        ids = waiting_ids(server.port, min(arguments.reads, arguments.jobs))
        reads = [run_fast(read(server.port, ids, clients)) for clients in READERS]
        restarts = [restart(server, ids[-1], n) for n in range(arguments.restarts)]
        server.stop(signal.SIGTERM)
    show(sent, reads, restarts)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--reads", type=int, default=4_000)
    parser.add_argument("--restarts", type=int, default=4)
    return parser.parse_args()


@contextlib.contextmanager
def folder_with_model(folder: Path) -> Iterator[Onebox]:
    dummy_checkpoint(folder / "models" / DUMMY)
    server = Onebox(folder)
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


async def submit(port: int, count: int) -> Times:
    request = request_bytes("POST", "/v1/jobs", JOB, key=API_KEY)
    return await ask(port, [request] * count, SENDERS)


async def read(port: int, ids: Sequence[str], clients: int) -> Times:
    requests = [request_bytes("GET", f"/v1/jobs/{job_id}", key=API_KEY) for job_id in ids]
    return await ask(port, requests, clients)


async def ask(port: int, requests: Sequence[bytes], clients: int) -> Times:
    """All of them, by so many clients; each sends its next when it has its answer."""
    times, waiting = Times(), iter(requests)

    async def client(connection: Connection) -> None:
        for request in waiting:
            started = time.perf_counter()
            answer: Answer = await connection.ask(request)
            times.seconds.append(time.perf_counter() - started)
            times.statuses[answer.status] += 1

    connections = [await Connection.open(HOST, port) for _ in range(clients)]
    started = time.perf_counter()
    await asyncio.gather(*map(client, connections))
    times.wall_s = time.perf_counter() - started
    for connection in connections:
        connection.close()
    return times


def waiting_ids(port: int, count: int) -> list[str]:
    """Of jobs from all over the queue, in any order."""
    headers = {"Authorization": f"Bearer {API_KEY}"}
    found: list[str] = []
    with httpx.Client(base_url=f"http://{HOST}:{port}", headers=headers) as client:
        query: dict[str, str | int] = {"limit": PAGE, "status": "queued"}
        while True:
            page = client.get("/v1/jobs", params=query).raise_for_status().json()
            found += [job["id"] for job in page["data"]]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
    print(f"{len(found)} jobs wait", flush=True)
    return random.Random(1).sample(found, min(count, len(found)))


def restart(server: Onebox, job_id: str, number: int) -> Restart:
    by = signal.SIGTERM if number % 2 else signal.SIGKILL
    server.stop(by)
    started = time.perf_counter()
    server.start()
    health = server.until_answered("/health")
    job = server.until_answered(f"/v1/jobs/{job_id}")
    # So that jobs run again when it is stopped the next time.
    server.until_answered("/ready")
    return Restart(by.name, health - started, job - started)


def show(sent: Times, reads: Sequence[Times], restarts: Sequence[Restart]) -> None:
    header = ("", "a second", "p50 ms", "p99 ms", "slowest ms")
    named = [(f"submissions, {SENDERS} clients", sent)]
    named += [
        (f"reads, {clients} client{'s' * (clients > 1)}", times)
        for clients, times in zip(READERS, reads, strict=True)
    ]
    rows = [(name, f"{rate(times):.0f}", *map(times.ms, (0.5, 0.99, 1.0))) for name, times in named]
    print(table(header, rows))
    unexpected = [times.statuses for _, times in named if set(times.statuses) - {200, 202}]
    print(f"unexpected answers: {unexpected or 'none'}\n")
    rows = [(one.stopped_by, f"{one.health_s:.2f}", f"{one.job_s:.2f}") for one in restarts]
    print(table(("restart after", "/health s", "a job s"), rows))
    print(
        f"targets: {TARGET_RATE:.0f} submissions a second, reads p99 at most "
        f"{TARGET_READ_MS:.0f} ms, restarts at most {TARGET_RESTART_S:.0f} s"
    )


def rate(times: Times) -> float:
    return len(times.seconds) / times.wall_s


if __name__ == "__main__":
    main()
