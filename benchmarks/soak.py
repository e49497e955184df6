"""Half an hour of everything at once: two real models that do not fit together, four clients of
which one leaves at random, and a worker that is killed again and again.

    python -m benchmarks.soak [--minutes 30] [--seed 1] [--kill-every 60 120]

The clients keep books: every request must end in exactly one answer or in its client's leaving.
Memory is read every 5 seconds, the worker's only once it is up for 20, and compared as the median
of the last third of the run against that of the first. Ends with exit code 1 if a request hung or
had no answer or several, or if no picture can be made afterwards.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from benchmarks import soak_clients
from benchmarks.figures import table
from benchmarks.heavy_shapes import write_heavy_shapes
from benchmarks.ledger import Ledger
from benchmarks.peers import onebox
from benchmarks.soak_clients import ROUTE, Soak
from benchmarks.status import leases_at_rest
from tests.support.server import Server, wait_for

MIB = 1024 * 1024
MODELS = ("heavy-one", "heavy-two")
# One model and what two pictures may take beside it fit, both models never do.
WEIGHTS_BYTES = 512 * MIB
BUDGET = "900MiB"
CLIENTS = (soak_clients.plain, soak_clients.streaming, soak_clients.sdk, soak_clients.leaver)
HUNG_AFTER_S = 120.0
SAMPLE_EVERY_S = 5.0
WORKER_SETTLED_S = 20.0
REPORT_EVERY_S = 60.0
GROWTH_TARGET = 0.03


@dataclass(frozen=True, slots=True)
class Sample:
    """`worker_bytes` is None while the worker is not up for long."""

    share: float
    gateway_bytes: int
    worker_bytes: int | None
    files: int
    threads: int


@dataclass(slots=True)
class Killer:
    """Kills the worker at random times, and counts."""

    server: Server
    every_s: tuple[float, float]
    chance: random.Random
    kills: int = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(self.chance.uniform(*self.every_s)):
            with contextlib.suppress(ValueError, psutil.Error):
                self.server.worker().kill()
                self.kills += 1


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder) / "models"
        for number, name in enumerate(MODELS):
            write_heavy_shapes(models / name, WEIGHTS_BYTES, number)
        with onebox(models, ONEBOX_MEMORY_BUDGET=BUDGET) as server:
            good = soak(server, arguments)
    sys.exit(0 if good else 1)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kill-every",
        type=float,
        nargs=2,
        default=(60, 120),
        metavar=("LEAST", "MOST"),
        help="seconds between two kills of the worker",
    )
    return parser.parse_args()


def soak(server: Server, arguments: argparse.Namespace) -> bool:
    """Run it, print what came of it, and tell whether all is well."""
    wait_for(lambda: picture(server, MODELS[0]) == 200, HUNG_AFTER_S)
    ledger, stop = Ledger(HUNG_AFTER_S), threading.Event()
    shared = Soak(server.url, MODELS, ledger, stop, HUNG_AFTER_S)
    killer = Killer(server, tuple(arguments.kill_every), random.Random(arguments.seed))
    threads = [threading.Thread(target=killer.run, args=[stop], daemon=True)]
    for number, client in enumerate(CLIENTS, start=arguments.seed + 1):
        arguments_of_client = [shared, random.Random(number)]
        threads.append(threading.Thread(target=client, args=arguments_of_client, daemon=True))
    for thread in threads:
        thread.start()
    samples = list(watch(server, arguments.minutes * 60, ledger, killer))
    stop.set()
    end = time.monotonic() + HUNG_AFTER_S + SAMPLE_EVERY_S
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return report(server, ledger, killer, samples)


def watch(server: Server, seconds: float, ledger: Ledger, killer: Killer) -> Iterator[Sample]:
    """A sample every few seconds, and a line on the screen every minute."""
    started = time.monotonic()
    next_line_s = REPORT_EVERY_S
    while (elapsed_s := time.monotonic() - started) < seconds:
        yield (sample := take_sample(server, elapsed_s / seconds))
        if elapsed_s >= next_line_s:
            next_line_s += REPORT_EVERY_S
            ended = sum(count.total() for count in ledger.verdicts(with_open=False).values())
            print(
                f"{elapsed_s / 60:5.1f} min: {ended} requests ended, "
                f"{len(ledger.failures(with_open=False))} failed, {killer.kills} kills, "
                f"gateway {sample.gateway_bytes / MIB:.0f} MiB, "
                f"slowest request {ledger.slowest_s():.1f} s",
                flush=True,
            )
        time.sleep(SAMPLE_EVERY_S)


def take_sample(server: Server, share: float) -> Sample:
    """`share` is how much of the run is over."""
    gateway = psutil.Process(server.process.pid)
    worker_bytes = None
    with contextlib.suppress(ValueError, psutil.Error):
        worker = server.worker()
        if time.time() - worker.create_time() >= WORKER_SETTLED_S:
            worker_bytes = worker.memory_info().rss
    return Sample(
        share, gateway.memory_info().rss, worker_bytes, gateway.num_fds(), gateway.num_threads()
    )


def picture(server: Server, model: str) -> int:
    """Status of a small picture asked for now."""
    body = {"model": model, "prompt": soak_clients.PROMPT, "width": 64, "height": 64, "steps": 2}
    with server.client() as client:
        return client.post(ROUTE, json=body).status_code


def report(server: Server, ledger: Ledger, killer: Killer, samples: Sequence[Sample]) -> bool:
    counts = ledger.verdicts(with_open=True)
    outcomes = sorted({outcome for count in counts.values() for outcome in count})
    rows = [(o, *(str(count[o]) for count in counts.values())) for o in outcomes]
    print(table(("ended in", *counts), rows), end="\n\n")
    print(table(("median of", "first third", "last third", "change"), list(changes(samples))))
    print(f"targets: nothing hung or broken, memory at most {GROWTH_TARGET:+.0%}", end="\n\n")
    failures = ledger.failures(with_open=True)
    for failure in failures:
        print(failure)
    with server.client() as client:
        leases = leases_at_rest(client)
    statuses = [picture(server, model) for model in MODELS]
    print(f"kills {killer.kills}; slowest request {ledger.slowest_s():.1f} s")
    print(f"leases afterwards: {leases} (target 0)")
    print(f"pictures afterwards: {statuses}")
    return not failures and not leases and statuses == [200] * len(MODELS)


def changes(samples: Sequence[Sample]) -> Iterator[tuple[str, str, str, str]]:
    """A row for each thing that was sampled."""
    reads: dict[str, Callable[[Sample], float | None]] = {
        "gateway memory, MiB": lambda sample: sample.gateway_bytes / MIB,
        "worker memory, MiB": lambda sample: sample.worker_bytes and sample.worker_bytes / MIB,
        "gateway open files": lambda sample: sample.files,
        "gateway threads": lambda sample: sample.threads,
    }
    for name, read in reads.items():
        first = [v for s in samples if s.share < 1 / 3 and (v := read(s)) is not None]
        last = [v for s in samples if s.share >= 2 / 3 and (v := read(s)) is not None]
        if first and last:
            change = f"{100 * (median(last) / median(first) - 1):+.1f} %"
            yield name, f"{median(first):.1f}", f"{median(last):.1f}", change
        else:
            yield name, "-", "-", "too few samples"


if __name__ == "__main__":
    main()
