"""What the gateway and the wire to a worker process cost: an empty task through Onebox as it is
usually run (auth, admission, metrics, log and disconnect watch on), beside a bare FastAPI route and
LitServe.

    python -m benchmarks.wire [--litserve-python PATH] [--rounds 5] [--seconds 5]

All servers run all the time and are asked in turns, in another order each round, so that whatever
the machine does meanwhile hits all; figures are medians over the rounds. The load generator shares
the machine's cores with the server it asks. It is one process on an event loop that writes the same
bytes again as soon as an answer's status and length are in, see `benchmarks.raw_http`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.figures import percentile, table
from benchmarks.peers import DUMMY, Peer, bare_route, litserve, onebox, peer_of
from benchmarks.raw_http import Answer, Connection, request_bytes, run_fast
from tests.support.server import API_KEY

MANY = 32
WARM_UP_S = 2.0
TARGET_MS = 0.8
TARGET_RATE = 2.0
TARGET_LATENCY = 0.5


@dataclass(frozen=True, slots=True)
class Side:
    """A server and the request it is asked."""

    peer: Peer
    request: bytes


@dataclass(frozen=True, slots=True)
class Figures:
    p50_ms: float
    p99_ms: float
    per_second: float


@dataclass(slots=True)
class Caller:
    """Sends the same request over one connection again and again, until `end`."""

    connection: Connection
    request: bytes
    end: float
    times: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    done: asyncio.Event = field(default_factory=asyncio.Event)
    _sent: float = 0.0

    def begin(self) -> None:
        self._sent = time.perf_counter()
        self.connection.send(self.request, self._answered)

    def _answered(self, answer: Answer) -> None:
        now = time.perf_counter()
        self.times.append(now - self._sent)
        self.statuses[answer.status] += 1
        if now < self.end and answer.status == 200:
            self.begin()
        else:
            self.done.set()


def main() -> None:
    arguments = parse_arguments()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(onebox())
        body = {"model": DUMMY, "text": "x"}
        sides = [
            Side(peer_of(server), request_bytes("POST", "/v1/tasks/echo", body, key=API_KEY)),
            Side(stack.enter_context(bare_route()), request_bytes("POST", "/echo", {"text": "x"})),
        ]
        if arguments.litserve_python:
            peer = stack.enter_context(litserve(arguments.litserve_python))
            sides.append(Side(peer, request_bytes("POST", "/predict", {"text": "x"})))
        else:
            print("LitServe is left out: --litserve-python names no interpreter that has it")
        alone, many = run_fast(measure(sides, arguments.rounds, arguments.seconds))
    report(alone, many)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--litserve-python", type=Path, help="interpreter that has LitServe")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each side in each round")
    return parser.parse_args()


async def measure(
    sides: Sequence[Side], rounds: int, seconds: float
) -> tuple[dict[str, Figures], dict[str, Figures]]:
    """Figures of each side alone on its server, and of `MANY` at once."""
    alone: dict[str, list[Figures]] = {side.peer.name: [] for side in sides}
    many: dict[str, list[Figures]] = {side.peer.name: [] for side in sides}
    for side in sides:
        await ask(side, MANY, WARM_UP_S)
    for number in range(rounds):
        first = number % len(sides)
        for side in (*sides[first:], *sides[:first]):
            alone[side.peer.name].append(await ask(side, 1, seconds))
            many[side.peer.name].append(await ask(side, MANY, seconds))
    return over_rounds(alone), over_rounds(many)


async def ask(side: Side, callers: int, seconds: float) -> Figures:
    """Ask for some seconds over as many connections. Ends the program at an answer but 200."""
    connections = [await Connection.open(side.peer.host, side.peer.port) for _ in range(callers)]
    gc.collect()
    started = time.perf_counter()
    asking = [Caller(connection, side.request, started + seconds) for connection in connections]
    for caller in asking:
        caller.begin()
    for caller in asking:
        await caller.done.wait()
    elapsed_s = time.perf_counter() - started
    for connection in connections:
        connection.close()
    statuses = sum((caller.statuses for caller in asking), Counter[int]())
    if statuses.keys() != {200}:
        raise SystemExit(f"{side.peer.name} answered {dict(statuses)} to {callers} at once")
    times = [seconds for caller in asking for seconds in caller.times]
    return Figures(
        percentile(times, 0.5) * 1000, percentile(times, 0.99) * 1000, len(times) / elapsed_s
    )


def over_rounds(figures: dict[str, list[Figures]]) -> dict[str, Figures]:
    return {
        name: Figures(
            median(one.p50_ms for one in rounds),
            median(one.p99_ms for one in rounds),
            median(one.per_second for one in rounds),
        )
        for name, rounds in figures.items()
    }


def report(alone: dict[str, Figures], many: dict[str, Figures]) -> None:
    header = ("", "p50 ms, 1", "p99 ms, 1", f"p50 ms, {MANY}", f"p99 ms, {MANY}", f"req/s, {MANY}")
    rows = [
        (
            name,
            f"{alone[name].p50_ms:.2f}",
            f"{alone[name].p99_ms:.2f}",
            f"{many[name].p50_ms:.1f}",
            f"{many[name].p99_ms:.1f}",
            f"{many[name].per_second:,.0f}",
        )
        for name in alone
    ]
    print(table(header, rows))
    print(f"p50 at 1: {alone['onebox'].p50_ms:.2f} ms (target at most {TARGET_MS})")
    for name in alone:
        if name == "onebox":
            continue
        print(
            f"onebox / {name}: p50 at 1 {alone['onebox'].p50_ms / alone[name].p50_ms:.2f}, "
            f"p50 at {MANY} {many['onebox'].p50_ms / many[name].p50_ms:.2f}, "
            f"requests a second {many['onebox'].per_second / many[name].per_second:.2f}"
        )
    if "LitServe" in alone:
        print(
            f"targets against LitServe at {MANY}: p50 at most {TARGET_LATENCY}, "
            f"requests a second at least {TARGET_RATE}"
        )


if __name__ == "__main__":
    main()
