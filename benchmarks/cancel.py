"""How soon the device is free when a client leaves in the middle of a picture.

    python -m benchmarks.cancel [--leaves 24] [--size 512] [--steps 100]

A client asks for a large picture with many steps and disconnects at a random moment of its run,
plain and streaming in turns. In the same moment another client asks for a tiny picture of the same
model, which gets the device when the large one is gone. What that takes, less the tiny one's own
time on the device as its answer tells it, is the time to a free device, here in units of one step
of the large picture. The last column takes off what a tiny one takes on an idle server instead.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

import httpx

from benchmarks.figures import table
from benchmarks.peers import onebox
from benchmarks.raw_http import HEAD_END
from benchmarks.status import leases_at_rest
from tests.support.server import API_KEY, ROOT, Server

MODEL = "onebox-shapes"
PROMPT = "a red circle on a blue background"
ROUTE = "/v1/tasks/text-to-image"
EVENTS = "text/event-stream"
TINY = {"model": MODEL, "prompt": PROMPT, "width": 64, "height": 64, "steps": 1, "seed": 1}
MEASURED_STEPS = 12
TINY_ROUNDS = 15
# Steps of the run that are over when a client leaves.
LEAVE_AFTER = (2, 3, 4, 5)
PROGRESS = b"event: progress"
LEAST_STEP_S = 0.05
TIMEOUT_S = 60.0
TARGET = 1.2


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds of a large picture: until its first step is over, and of each step after it."""

    first_s: float
    step_s: float


@dataclass(frozen=True, slots=True)
class Freed:
    """Steps until the device was free: by the tiny picture's own time, and by an idle server's."""

    steps: float
    steps_by_idle: float


def main() -> None:
    arguments = parse_arguments()
    chance = random.Random(arguments.seed)
    large = {
        **TINY, "width": arguments.size, "height": arguments.size, "steps": arguments.steps,
    }  # fmt: skip
    freed: dict[str, list[Freed]] = {"plain": [], "streaming": []}
    with onebox(ROOT / "ai-models") as server, server.client() as client:
        pace = measure_pace(server, {**large, "steps": MEASURED_STEPS})
        idle_s = median(idle_times(client))
        print(
            f"{arguments.size}x{arguments.size}: a step takes {pace.step_s * 1000:.0f} ms; "
            f"a tiny picture on an idle server {idle_s * 1000:.0f} ms"
        )
        if pace.step_s < LEAST_STEP_S:
            print(f"steps under {LEAST_STEP_S * 1000:.0f} ms are too short for this: raise --size")
        for _ in range(arguments.leaves // 2):
            for kind, leave in (("plain", leave_plain), ("streaming", leave_streaming)):
                left = leave(server, large, pace, chance)
                answered, own_s = draw_tiny(client)
                taken_s = answered - left
                freed[kind].append(
                    Freed((taken_s - own_s) / pace.step_s, (taken_s - idle_s) / pace.step_s)
                )
        leases = leases_at_rest(client)
    show(freed)
    print(f"leases afterwards: {leases} (target 0)")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--leaves", type=int, default=24, help="clients that disconnect")
    parser.add_argument("--size", type=int, default=512, help="side of the large picture")
    parser.add_argument("--steps", type=int, default=100, help="of the large picture")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def measure_pace(server: Server, body: dict[str, Any]) -> Pace:
    """From the second of two whole runs, as a client sees their progress. The first loads."""
    times: list[float] = []
    started = 0.0
    with server.client() as client:
        for _ in range(2):
            times, started = [], time.perf_counter()
            with client.stream("POST", ROUTE, json=body, headers={"Accept": EVENTS}) as stream:
                for line in stream.iter_lines():
                    if line == "event: progress":
                        times.append(time.perf_counter())
    if len(times) < MEASURED_STEPS:
        raise SystemExit(f"{len(times)} steps were reported of {MEASURED_STEPS}")
    gaps = [later - earlier for earlier, later in pairwise(times)]
    return Pace(times[0] - started, median(gaps))


def draw_tiny(client: httpx.Client) -> tuple[float, float]:
    """When a tiny picture was there, by the clock, and the seconds of its own on the device."""
    answer = client.post(ROUTE, json=TINY)
    answered = time.perf_counter()
    timing = answer.raise_for_status().json()["timing"]
    return answered, timing["load_s"] + timing["run_s"] + timing["encode_s"]


def idle_times(client: httpx.Client) -> Iterator[float]:
    """Seconds that a tiny picture takes when nothing else runs."""
    for _ in range(TINY_ROUNDS):
        started = time.perf_counter()
        yield draw_tiny(client)[0] - started


def leave_plain(server: Server, body: dict[str, Any], pace: Pace, chance: random.Random) -> float:
    """Ask for a picture, disconnect when a few of its steps should be over. Tells when that was."""
    steps = chance.choice(LEAVE_AFTER) - 1 + chance.random()
    with asked(server, body, streaming=False) as connection:
        received = read_for(connection, pace.first_s + pace.step_s * steps)
        if received:
            raise SystemExit(f"it was over before the client left: {received[:200]!r}")
        return time.perf_counter()


def leave_streaming(
    server: Server, body: dict[str, Any], pace: Pace, chance: random.Random
) -> float:
    """The same, by the steps that it is told of."""
    steps = chance.choice(LEAVE_AFTER)
    received = b""
    with asked(server, body, streaming=True) as connection:
        while received.count(PROGRESS) < steps:
            received += (more := connection.recv(65536))
            if not more:
                raise SystemExit(f"the stream ended: {received[-200:]!r}")
        read_for(connection, pace.step_s * chance.random())
        return time.perf_counter()


@contextmanager
def asked(server: Server, body: dict[str, Any], *, streaming: bool) -> Iterator[socket.socket]:
    """A connection with the request on its way, closed at once when the body is over."""
    url = httpx.URL(server.url)
    content = json.dumps(body).encode()
    lines = [
        f"POST {ROUTE} HTTP/1.1",
        f"Host: {url.host}",
        f"Authorization: Bearer {API_KEY}",
        f"Accept: {EVENTS if streaming else 'application/json'}",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    ]
    with socket.create_connection((url.host, url.port or 80), TIMEOUT_S) as connection:
        connection.sendall("\r\n".join(lines).encode() + HEAD_END + content)
        yield connection


def read_for(connection: socket.socket, seconds: float) -> bytes:
    """What arrives in that time. Shorter only at the end of the connection."""
    received, end = b"", time.perf_counter() + seconds
    while (left_s := end - time.perf_counter()) > 0:
        connection.settimeout(left_s)
        try:
            more = connection.recv(65536)
        except TimeoutError:
            break
        if not more:
            break
        received += more
    return received


def show(freed: dict[str, list[Freed]]) -> None:
    sides = {**freed, "both": [one for side in freed.values() for one in side]}
    rows = [
        (
            name,
            str(len(side)),
            f"{median(one.steps for one in side):.2f}",
            f"{max(one.steps for one in side):.2f}",
            f"{max(one.steps_by_idle for one in side):.2f}",
        )
        for name, side in sides.items()
    ]
    print(table(("steps to a free device", "clients", "median", "most", "most, by idle"), rows))
    print(f"target: at most {TARGET}")


if __name__ == "__main__":
    main()
