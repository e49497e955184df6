"""How fast the registry is: hashing, cold scan, restart, and from file close to served.

    python benchmarks/registry.py [--files 5000] [--hash-gib 1] [--rounds 5] [--folder /fast/disk]

Each figure is the median of the rounds. `sha256sum` and our hashing take turns on one warm file, so
that their ratio holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import structlog

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from onebox.core.plugins import load_plugins
from onebox.registry import HashStore, Registry
from onebox.registry.fingerprint import open_binary, sha256_of_file

GIB = 1 << 30
PATIENCE_S = 120.0
TENSORS_PER_FILE = 20


def main() -> None:
    arguments = parse_arguments()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    load_plugins()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:
        measure_hashing(Path(work), arguments.hash_gib, arguments.rounds)
        measure_scanning(Path(work), arguments.files, arguments.rounds)
        measure_serving(Path(work), arguments.rounds)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures the registry.")
    parser.add_argument("--files", type=int, default=5000, help="small checkpoints to scan")
    parser.add_argument("--hash-gib", type=float, default=1.0, help="size of the file to hash")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; default: the temporary folder")
    return parser.parse_args()


def measure_hashing(work: Path, gib: float, rounds: int) -> None:
    path = work / "large.bin"
    size = int(gib * GIB)
    with path.open("wb") as file:
        for _ in range(0, size, 1 << 24):
            file.write(os.urandom(min(1 << 24, size - file.tell())))
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours.append(timed(lambda: hash_ours(path)))
        if shutil.which("sha256sum"):
            theirs.append(timed(lambda: hash_theirs(path)))
    path.unlink()
    print(f"hashing, one thread         {size / median(ours) / 1e9:8.2f} GB/s")
    if theirs:
        print(f"sha256sum, same file        {size / median(theirs) / 1e9:8.2f} GB/s")
        print(
            f"share of sha256sum          {median(theirs) / median(ours):8.2f}       target >= 0.9"
        )


def hash_ours(path: Path) -> None:
    with open_binary(path) as file:
        sha256_of_file(file)


def hash_theirs(path: Path) -> None:
    subprocess.run(["sha256sum", path], check=True, capture_output=True)


def measure_scanning(work: Path, count: int, rounds: int) -> None:
    models = work / "models"
    models.mkdir()
    for number in range(count):
        write_checkpoint(models / f"model-{number:05}.safetensors", number)
    colds, restarts = [], []
    for number in range(rounds):
        cache = work / f"cache-{number}.db"
        colds.append(time_to_list(models, cache, count))
        hash_everything(models, cache, count)
        restarts.append(time_to_list(models, cache, count))
    shutil.rmtree(models)
    print(f"cold scan, {count:5} files     {median(colds):8.2f} s")
    print(f"restart, {count:5} files       {median(restarts):8.2f} s    target <= 1 for 5000")


def time_to_list(models: Path, cache: Path, count: int) -> float:
    """Seconds from opening the store to a full list, as `start` takes them before hashing and
    watching.
    """
    started = time.perf_counter()
    store = HashStore(cache)
    registry = create_registry(models, store)
    registry.rescan()
    seconds = time.perf_counter() - started
    if len(registry.entries()) != count:
        raise SystemExit(f"listed {len(registry.entries())} of {count}")
    registry.stop()
    store.close()
    return seconds


def hash_everything(models: Path, cache: Path, count: int) -> None:
    with running(models, cache) as (registry, changed):
        wait_until(changed, lambda: count_ready(registry) == count)


def count_ready(registry: Registry) -> int:
    return sum(entry.status == "ready" for entry in registry.entries())


def measure_serving(work: Path, rounds: int) -> None:
    models = work / "served"
    models.mkdir()
    times = []
    with running(models, work / "served.db") as (registry, changed):
        for number in range(rounds):
            write_checkpoint(models / f"new-{number}.safetensors", number)
            closed = time.perf_counter()
            wait_until(changed, lambda: len(registry.entries()) > number)  # noqa: B023
            times.append(time.perf_counter() - closed)
    print(f"file close to served        {median(times):8.2f} s    target <= 1.5")
    print(f"  slowest of {rounds:3}            {max(times):8.2f} s")


def write_checkpoint(path: Path, number: int) -> None:
    """A whole safetensors file with a header of about 1.5 kB; each has its own contents and an old
    time.
    """
    payload = number.to_bytes(8, "little") * TENSORS_PER_FILE
    header = {
        f"model.layers.{index}.weight": {
            "dtype": "F32", "shape": [2], "data_offsets": [index * 8, index * 8 + 8],
        }
        for index in range(TENSORS_PER_FILE)
    }  # fmt: skip
    raw = json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + payload)
    os.utime(path, (1_700_000_000, 1_700_000_000))


def create_registry(
    models: Path, store: HashStore, on_change: Callable[[], None] | None = None
) -> Registry:
    return Registry(
        [models],
        store,
        scan_interval_s=10,
        aliases={},
        task_aliases={},
        default_models={},
        on_change=on_change,
    )


@contextmanager
def running(models: Path, cache: Path) -> Iterator[tuple[Registry, threading.Event]]:
    store, changed = HashStore(cache), threading.Event()
    registry = create_registry(models, store, changed.set)
    registry.start()
    try:
        yield registry, changed
    finally:
        registry.stop()
        store.close()


def wait_until(changed: threading.Event, holds: Callable[[], bool]) -> None:
    deadline = time.perf_counter() + PATIENCE_S
    while not holds():
        if not changed.wait(deadline - time.perf_counter()):
            raise SystemExit("the registry never got there")
        changed.clear()


def timed(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
