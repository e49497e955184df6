"""Asks `/health` at a steady pace on a connection of its own, in a process of its own."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks.raw_http import HEAD_END, request_bytes

TIMEOUT_S = 60.0


class Asked(NamedTuple):
    """Seconds until the answer: since it was asked, and since it was due to be asked.

    A server that stops for a second delays all that was due meanwhile, which only `since_due_s`
    tells.
    """

    since_asked_s: float
    since_due_s: float


class Watch:
    """`times` has what was seen so far, while somebody was `watching` and nothing failed."""

    def __init__(self, told: Connection) -> None:
        self.times: list[Asked] = []
        self._told = told

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._told.send(True)
        yield
        self._told.send(False)
        self.times += self._told.recv()


@contextlib.contextmanager
def watch_on(host: str, port: int, every_s: float) -> Iterator[Watch]:
    """A process that waits until it is told to ask; it starts once, not for each time."""
    processes = get_context("spawn")
    here, there = processes.Pipe()
    process = processes.Process(
        target=_ask_when_told, args=[there, host, port, every_s], daemon=True
    )
    process.start()
    # So that this end sees it when the process is gone.
    there.close()
    here.recv()
    try:
        yield Watch(here)
    finally:
        here.close()
        process.join(TIMEOUT_S)


def ask_health(host: str, port: int, seconds: float, every_s: float) -> list[Asked]:
    """One after another, the next not before `every_s` after the last was due. Blocks."""
    end = time.perf_counter() + seconds
    return _ask_while(lambda due: due < end, host, port, every_s)


def _ask_when_told(told: Connection, host: str, port: int, every_s: float) -> None:
    told.send(True)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while told.recv():
            told.send(_ask_while(lambda _: not told.poll(), host, port, every_s))
            told.recv()


def _ask_while(
    wanted: Callable[[float], bool], host: str, port: int, every_s: float
) -> list[Asked]:
    """Until one is due, by the clock of `perf_counter`, that is not `wanted` any more."""
    request = request_bytes("GET", "/health")
    times: list[Asked] = []
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.perf_counter()
        while wanted(due):
            time.sleep(max(0.0, due - time.perf_counter()))
            asked = time.perf_counter()
            connection.sendall(request)
            _read_ok(connection)
            now = time.perf_counter()
            times.append(Asked(now - asked, now - due))
            due += every_s
    return times


def _read_ok(connection: socket.socket) -> None:
    """One answer with a short body. Raises RuntimeError for any but 200."""
    received = b""
    while not received.endswith(b"}"):
        more = connection.recv(4096)
        if not more:
            raise RuntimeError("the server closed the connection that asks /health")
        received += more
    if received[9:12] != b"200" or HEAD_END not in received:
        raise RuntimeError(f"/health answered {received[:100]!r}")
