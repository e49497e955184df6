"""Asks `/health` at a steady pace on a connection of its own, in a process of its own."""

from __future__ import annotations

import socket
import time
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


def ask_health(host: str, port: int, seconds: float, every_s: float) -> list[Asked]:
    """One after another, the next not before `every_s` after the last was due. Blocks."""
    request = request_bytes("GET", "/health")
    times: list[Asked] = []
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        start = due = time.perf_counter()
        while due < start + seconds:
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
