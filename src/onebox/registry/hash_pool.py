"""Background hashing of files over threads, smallest first. Results come back in batches."""

from __future__ import annotations

import heapq
import os
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from onebox.core.os_support import usable_cpus
from onebox.registry.fingerprint import OpenFile, Stopped, open_binary, sha256_of_file
from onebox.registry.recognition import unreadable
from onebox.registry.scanner import FileStat

# Publishing costs time per checkpoint, so small files are reported together.
_BATCH_S = 0.5
_SMALL_BYTES = 32 * 1024 * 1024


class HashJob(NamedTuple):
    size: int  # first, so that jobs sort by it
    path: str
    stat: FileStat


class HashResult(NamedTuple):
    """SHA-256 of a file that stayed as it was, or the failure; neither when it changed under us."""

    job: HashJob
    sha256: str | None = None
    failure: str | None = None


class HashPool:
    """Owns the hashing threads. `on_results` is called from one of them, without a lock held."""

    def __init__(
        self,
        on_results: Callable[[list[HashResult]], None],
        *,
        threads: int | None = None,
        open_file: OpenFile = open_binary,
    ) -> None:
        self._on_results = on_results
        self._open_file = open_file
        self._wanted = threads or usable_cpus()
        self._threads: list[threading.Thread] = []
        self._condition = threading.Condition()
        self._queue: list[HashJob] = []
        self._unfinished: set[HashJob] = set()
        self._results: list[HashResult] = []
        self._reported_at = 0.0
        self._stop = threading.Event()

    def start(self) -> None:
        for number in range(self._wanted):
            thread = threading.Thread(target=self._run, name=f"registry-hash-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Give up what is left; a file being hashed is left within one block."""
        with self._condition:
            self._stop.set()
            self._queue.clear()
            self._condition.notify_all()
        for thread in self._threads:
            thread.join()

    def submit(self, jobs: Iterable[HashJob]) -> None:
        """Queue jobs; one that is queued or running already is not done twice."""
        with self._condition:
            for job in jobs:
                if job not in self._unfinished:
                    self._unfinished.add(job)
                    heapq.heappush(self._queue, job)
            self._condition.notify_all()

    def drain(self) -> None:
        """Do everything queued in the calling thread."""
        while self._queue and not self._stop.is_set():
            self._work_on(self._take())

    def _run(self) -> None:
        while (job := self._take(wait=True)) is not None:
            self._work_on(job)

    def _take(self, wait: bool = False) -> HashJob | None:
        with self._condition:
            while wait and not self._queue and not self._stop.is_set():
                self._condition.wait()
            return heapq.heappop(self._queue) if self._queue else None

    def _work_on(self, job: HashJob | None) -> None:
        if job is None:
            return
        try:
            result = self.hash_one(job)
        except Stopped:
            return
        with self._condition:
            self._results.append(result)
            batch = self._due_batch()
        if batch:
            self._on_results(batch)
            with self._condition:
                # Only now: a scan in between would not know the hash yet and submit the file again.
                self._unfinished.difference_update(each.job for each in batch)

    def _due_batch(self) -> list[HashResult]:
        """Results to report now; they wait while small files, soon done, come next."""
        now = time.monotonic()
        more_soon = bool(self._queue) and self._queue[0].size <= _SMALL_BYTES
        if more_soon and now - self._reported_at < _BATCH_S:
            return []
        batch, self._results, self._reported_at = self._results, [], now
        return batch

    def hash_one(self, job: HashJob) -> HashResult:
        """In the calling thread. Raises Stopped."""
        try:
            if _stat_of(job) != job.stat:
                return HashResult(job)
            with self._open_file(Path(job.path)) as file:
                sha256 = sha256_of_file(file, self._stop)
            return HashResult(job, sha256 if _stat_of(job) == job.stat else None)
        except FileNotFoundError:
            return HashResult(job)
        except OSError as error:
            return HashResult(job, failure=unreadable(error))


def _stat_of(job: HashJob) -> FileStat:
    """By path, as the scan does: some file systems give an open file another inode number."""
    now = os.stat(job.path)
    return FileStat(job.stat.relative, now.st_size, now.st_mtime_ns, now.st_ino)
