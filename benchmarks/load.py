"""2,000 clients that honour Retry-After, and `/health` meanwhile, beside a bare FastAPI route.

    python -m benchmarks.load [--seconds 60] [--clients 2000] [--rate 500] [--step-ms 3]

Each client has a connection of its own and asks again as soon as it has its answer and its turn: a
pacer hands out turns, `--rate` a second for all together. The dummy task takes `--step-ms` on the
device. The bare route waits as long without occupying anything, so it can never be full. First both
are warmed up with the same clients, so that memory of connections is not taken for growth.
`/health` is asked every 10 ms by another process.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context

import httpx
import psutil

from benchmarks.figures import percentile, table
from benchmarks.health import Asked, ask_health
from benchmarks.peers import DUMMY, Peer, bare_route, onebox, peer_of
from benchmarks.raw_http import Answer, Connection, request_bytes, run_fast
from benchmarks.status import leases_at_rest
from tests.support.server import Server

MIB = 1024 * 1024
KEYS = 20
SPARE_FILES = 200
OPEN_AT_ONCE = 50
WARM_UP_S = 15.0
HEALTH_EVERY_S = 0.01
PATIENCE_S = 120.0
REFUSALS = (429, 503)
HEALTH_TARGET_MS = 50.0
GROWTH_TARGET = 0.05


class Pacer:
    """Turns for all clients together, `per_second` at most; a turn not taken is lost."""

    def __init__(self, per_second: float) -> None:
        self._interval_s = 1 / per_second
        self._next = 0.0

    async def turn(self) -> None:
        now = time.perf_counter()
        self._next = max(self._next + self._interval_s, now)
        await asyncio.sleep(self._next - now)


@dataclass(slots=True)
class Tally:
    """What the clients saw."""

    outcomes: Counter[str] = field(default_factory=Counter)
    served_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)

    def add(self, answer: Answer, seconds: float) -> None:
        if answer.status == 200:
            self.outcomes["200"] += 1
            self.served_s.append(seconds)
        elif answer.status in REFUSALS and answer.retry_after_s is not None:
            self.outcomes[f"{answer.status} with Retry-After"] += 1
            self.refused_s.append(seconds)
        else:
            self.outcomes[f"UNEXPECTED {answer.status or 'no answer'}"] += 1


@dataclass(frozen=True, slots=True)
class Report:
    name: str
    tally: Tally
    seconds: float
    health: Sequence[Asked]
    before_bytes: int
    after_bytes: int


def main() -> None:
    arguments = parse_arguments()
    raise_file_limit(arguments.clients)
    body = {"steps": 1, "step_s": arguments.step_ms / 1000}
    keys = [f"load-{number}" for number in range(KEYS)]
    with onebox(API_KEYS=",".join(keys)) as server:
        model = {"model": DUMMY, **body}
        requests = [request_bytes("POST", "/v1/tasks/steps", model, key=key) for key in keys]
        ours = run_fast(measure(peer_of(server), requests, arguments))
        leases = leases_afterwards(server, keys[0])
    with bare_route() as peer:
        requests = [request_bytes("POST", "/steps", body)]
        bare = run_fast(measure(peer, requests, arguments))
    show([ours, bare])
    print(f"onebox, leases afterwards: {leases} (target 0)")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=500, help="requests a second, all together")
    parser.add_argument("--step-ms", type=float, default=3, help="what the task takes")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def raise_file_limit(clients: int) -> None:
    """As many open files as the clients need, here and in the servers started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, clients + SPARE_FILES)
    if hard != resource.RLIM_INFINITY and wanted > hard:
        raise SystemExit(f"{clients} clients need {wanted} open files, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def measure(peer: Peer, requests: Sequence[bytes], arguments: argparse.Namespace) -> Report:
    """Warm up, then the load itself with `/health` beside it, over the same connections."""
    chance = random.Random(arguments.seed)
    connections = await open_connections(peer, arguments.clients)
    process = psutil.Process(peer.pid)
    await load(peer, connections, requests, arguments.rate, WARM_UP_S, chance)
    before = process.memory_info().rss
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        health = asyncio.get_running_loop().run_in_executor(
            pool, ask_health, peer.host, peer.port, arguments.seconds, HEALTH_EVERY_S
        )
        tally = await load(peer, connections, requests, arguments.rate, arguments.seconds, chance)
        times = await health
    after = process.memory_info().rss
    for connection in connections:
        connection.close()
    return Report(peer.name, tally, arguments.seconds, times, before, after)


async def open_connections(peer: Peer, clients: int) -> list[Connection]:
    """A few at a time: the backlog of a listening socket is short."""
    connections: list[Connection] = []
    while len(connections) < clients:
        count = min(OPEN_AT_ONCE, clients - len(connections))
        opening = (Connection.open(peer.host, peer.port) for _ in range(count))
        connections += await asyncio.gather(*opening)
    return connections


async def load(
    peer: Peer,
    connections: list[Connection],
    requests: Sequence[bytes],
    rate: float,
    seconds: float,
    chance: random.Random,
) -> Tally:
    """All clients for some seconds, and until the last of them has its answer."""
    tally, pacer = Tally(), Pacer(rate)
    end = time.perf_counter() + seconds

    async def client(number: int) -> None:
        request = requests[number % len(requests)]
        while True:
            await pacer.turn()
            if time.perf_counter() >= end:
                return
            if not connections[number].is_open:
                connections[number] = await Connection.open(peer.host, peer.port)
            answer, taken_s = await timed_ask(connections[number], request)
            tally.add(answer, taken_s)
            if answer.retry_after_s is not None:
                # A little later than told, as clients do, or they would all come back at once.
                pause_s = answer.retry_after_s * chance.uniform(1.0, 1.25)
                if time.perf_counter() + pause_s >= end:
                    return
                await asyncio.sleep(pause_s)

    await asyncio.gather(*(client(number) for number in range(len(connections))))
    return tally


async def timed_ask(connection: Connection, request: bytes) -> tuple[Answer, float]:
    """The answer and the seconds it took; status 0 where none came within `PATIENCE_S`."""
    started = time.perf_counter()
    try:
        answer = await asyncio.wait_for(connection.ask(request), PATIENCE_S)
    except TimeoutError:
        connection.close()
        answer = Answer(0)
    return answer, time.perf_counter() - started


def leases_afterwards(server: Server, key: str) -> int:
    with httpx.Client(
        base_url=server.url, headers={"Authorization": f"Bearer {key}"}, timeout=60
    ) as client:
        return leases_at_rest(client)


def show(reports: Sequence[Report]) -> None:
    header = ("", *(report.name for report in reports))
    rows = [("offered, requests a second", *(f"{offered(r):.0f}" for r in reports))]
    for outcome in sorted({name for r in reports for name in r.tally.outcomes}):
        rows.append((outcome, *(str(r.tally.outcomes[outcome]) for r in reports)))
    rows += [
        ("200: p50 ms", *(milliseconds(r.tally.served_s, 0.5) for r in reports)),
        ("200: p99 ms", *(milliseconds(r.tally.served_s, 0.99) for r in reports)),
        ("refused: p50 ms", *(milliseconds(r.tally.refused_s, 0.5) for r in reports)),
        ("refused: p99 ms", *(milliseconds(r.tally.refused_s, 0.99) for r in reports)),
        ("/health: asked", *(str(len(r.health)) for r in reports)),
        ("/health: p50 ms", *(milliseconds(asked(r), 0.5) for r in reports)),
        ("/health: p99 ms", *(milliseconds(asked(r), 0.99) for r in reports)),
        ("/health: slowest ms", *(milliseconds(asked(r), 1.0) for r in reports)),
        ("/health: p99 ms since due", *(milliseconds(due(r), 0.99) for r in reports)),
        ("gateway memory before, MiB", *(f"{r.before_bytes / MIB:.1f}" for r in reports)),
        ("gateway memory after, MiB", *(f"{r.after_bytes / MIB:.1f}" for r in reports)),
        ("growth, %", *(f"{100 * growth(r):+.1f}" for r in reports)),
    ]
    print(table(header, rows))
    print(
        f"targets: nothing unexpected, /health p99 at most {HEALTH_TARGET_MS:.0f} ms, "
        f"growth at most {GROWTH_TARGET:.0%}"
    )


def offered(report: Report) -> float:
    return report.tally.outcomes.total() / report.seconds


def asked(report: Report) -> list[float]:
    return [one.since_asked_s for one in report.health]


def due(report: Report) -> list[float]:
    return [one.since_due_s for one in report.health]


def growth(report: Report) -> float:
    return report.after_bytes / report.before_bytes - 1


def milliseconds(seconds: Sequence[float], share: float) -> str:
    return f"{percentile(seconds, share) * 1000:.1f}" if seconds else "-"


if __name__ == "__main__":
    main()
