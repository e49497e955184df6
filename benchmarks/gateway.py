"""The gateway alone: time to a listening socket, resident memory, and /health while it works.

.venv/bin/python -m benchmarks.gateway [--rounds 5] [--seconds 20]
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

from tests.support.server import ROOT, Server, running_server

MODEL = "onebox-shapes"
MIB = 1024 * 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def seconds_to_listening(folder: Path) -> float:
    """From the start of `app.py` to the first accepted connection."""
    port = free_port()
    environment = {**os.environ, "PORT": str(port), "DATA_DIR": str(folder), "LOG_LEVEL": "ERROR"}
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, ROOT / "app.py"], env=environment, stdout=subprocess.DEVNULL
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return time.perf_counter() - started
            except OSError:
                time.sleep(0.002)
    finally:
        process.terminate()
        process.wait()


def health_times(server: Server, seconds: float) -> list[float]:
    """Milliseconds of each `/health` in the time given, one after another on one connection."""
    times = []
    with server.client(None) as client:
        client.get("/health")
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            started = time.perf_counter()
            client.get("/health")
            times.append((time.perf_counter() - started) * 1000)
            time.sleep(0.005)
    return sorted(times)


def keep_drawing(server: Server, stop: threading.Event, drawn: list[int]) -> None:
    body = {"model": MODEL, "prompt": "a red circle on a blue background"}
    with server.client() as client:
        while not stop.is_set():
            drawn.append(client.post("/v1/images/generations", json=body).status_code)


def summary(times: list[float]) -> str:
    p99 = times[int(len(times) * 0.99)]
    p50 = statistics.median(times)
    return f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {times[-1]:.2f} ms (n {len(times)})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        starts = [seconds_to_listening(Path(folder) / str(i)) for i in range(arguments.rounds)]
        slowest = max(starts)
        print(
            f"start to listening: median {statistics.median(starts):.2f} s, slowest {slowest:.2f} s"
        )
        with running_server(Path(folder) / "data", ROOT / "ai-models") as server:
            print(f"/health, idle: {summary(health_times(server, arguments.seconds / 2))}")
            stop, drawn = threading.Event(), []
            drawing = threading.Thread(target=keep_drawing, args=[server, stop, drawn])
            drawing.start()
            times = health_times(server, arguments.seconds)
            stop.set()
            drawing.join()
            print(f"/health, drawing {len(drawn)} pictures: {summary(times)}")
            resident = psutil.Process(server.process.pid).memory_info().rss
            print(f"gateway resident memory: {resident / MIB:.0f} MiB")


if __name__ == "__main__":
    main()
