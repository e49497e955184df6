from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from onebox.registry.hash_pool import HashJob, HashPool, HashResult
from onebox.registry.scanner import FileStat
from tests.unit.registry.fakes import Disk, put


def job(path: Path) -> HashJob:
    stat = os.stat(path)
    seen = FileStat(path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino)
    return HashJob(stat.st_size, str(path), seen)


def drained(jobs: list[HashJob], disk: Disk | None = None) -> list[HashResult]:
    results: list[HashResult] = []
    pool = HashPool(results.extend, open_file=disk or Disk())
    pool.submit(jobs)
    pool.submit(jobs)
    pool.drain()
    return results


def test_hashes_each_file_once_and_the_smallest_first(folder: Path) -> None:
    paths = [put(folder / f"{size}.pt", b"x" * size) for size in (30, 10, 20)]
    results = drained([job(path) for path in paths])
    assert [result.job.size for result in results] == [10, 20, 30]
    assert results[0].sha256 == hashlib.sha256(b"x" * 10).hexdigest()


def test_a_file_that_changed_since_the_scan_gives_nothing(folder: Path) -> None:
    changed, gone = put(folder / "a.pt", b"1"), put(folder / "b.pt", b"1")
    jobs = [job(changed), job(gone)]
    put(changed, b"22")
    gone.unlink()
    assert [(each.sha256, each.failure) for each in drained(jobs)] == [(None, None)] * 2


def test_a_file_that_changes_while_it_is_hashed_gives_nothing(folder: Path) -> None:
    path = put(folder / "a.pt", b"1")

    class Changing(Disk):
        def __call__(self, opened: Path):  # type: ignore[no-untyped-def]
            file = super().__call__(opened)
            put(path, b"2", age_s=50)
            return file

    assert drained([job(path)], Changing())[0].sha256 is None


def test_an_unreadable_file_says_why(folder: Path) -> None:
    disk = Disk()
    disk.unreadable.add("a.pt")
    results = drained([job(put(folder / "a.pt", b"1"))], disk)
    assert "permission" in (results[0].failure or "")


def test_threads_hash_everything_and_report_in_batches(folder: Path) -> None:
    paths = [put(folder / f"{number}.pt", b"%d" % number) for number in range(200)]
    results: list[HashResult] = []
    batches = 0
    done = threading.Event()

    def arrived(batch: list[HashResult]) -> None:
        nonlocal batches
        batches += 1
        results.extend(batch)
        if len(results) == len(paths):
            done.set()

    pool = HashPool(arrived, threads=2)
    pool.start()
    pool.submit(job(path) for path in paths)
    assert done.wait(timeout=60)
    pool.stop()
    assert batches < len(paths)


def test_stop_leaves_a_large_file_at_once(folder: Path) -> None:
    path = folder / "large.pt"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    opened = threading.Event()

    class Telling(Disk):
        def __call__(self, path: Path):  # type: ignore[no-untyped-def]
            opened.set()
            return super().__call__(path)

    results: list[HashResult] = []
    pool = HashPool(results.extend, threads=1, open_file=Telling())
    pool.start()
    pool.submit([job(path)])
    assert opened.wait(timeout=60)
    pool.stop()
    assert results == []
