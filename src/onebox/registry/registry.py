"""The registry: all checkpoints in the model folders, kept fresh."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from onebox.core.contracts import Entry, Family
from onebox.core.errors import ModelNotFound
from onebox.core.plugins import FAMILIES, tasks_of_family
from onebox.registry.components import TasksOf
from onebox.registry.converted import ConvertedStore
from onebox.registry.fingerprint import OpenFile, open_binary
from onebox.registry.freshness import being_written, broken, moves, not_there, paths_of
from onebox.registry.hash_pool import HashPool, HashResult
from onebox.registry.hash_store import HashStore
from onebox.registry.inspector import Inspector, file_path
from onebox.registry.names import NameRules
from onebox.registry.on_disk import CheckpointOnDisk
from onebox.registry.plan import Plan, Waiting, next_settled_in, plan_scan
from onebox.registry.report import report
from onebox.registry.scanner import scan, scan_one
from onebox.registry.snapshot import Record, build_snapshot, wanted_conversions
from onebox.registry.watcher import Watcher

SETTLE_S = 0.5
_RETRY_S = 60.0


class Registry:
    """Owns the hashing threads and the watching thread. All methods may be called from any thread.

    Reading (`entries`, `resolve`, `default_for`) takes no lock: it uses the snapshot published
    last. One lock serialises scans and the arrival of hashes; files are looked into, but never
    hashed, while it is held. Locks below it: those of the watcher, the hash pool and the hash
    store, each held for moments only.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        hash_store: HashStore,
        *,
        scan_interval_s: float,
        aliases: Mapping[str, str],
        task_aliases: Mapping[str, str],
        default_models: Mapping[str, str],
        on_change: Callable[[], None] | None = None,
        families: Mapping[str, Family] = FAMILIES,
        tasks_of: TasksOf = tasks_of_family,
        settle_s: float = SETTLE_S,
        hash_threads: int | None = None,
        open_file: OpenFile = open_binary,
        clock: Callable[[], float] = time.time,
        converted: ConvertedStore | None = None,
        remote: Sequence[Entry] = (),
    ) -> None:
        """`on_change` is called from the watching thread; several changes may be one call.
        `converted`: where what was made of pickles lies; None: pickles are refused.
        `remote`: models that run on other servers, which have names beside those on disk."""
        self._folders = list(folders)
        self._store = hash_store
        self._rules = NameRules(aliases, task_aliases, default_models, tuple(remote))
        self._tasks_of = tasks_of
        self._settle_s = settle_s
        self._clock = clock
        self._open_file = open_file
        self._converted = converted
        self._on_change = on_change
        self._inspector = Inspector(hash_store, families, open_file, converted)
        self._pool = HashPool(self._hashed, threads=hash_threads, open_file=open_file)
        self._watcher = Watcher(
            self._folders, interval_s=scan_interval_s, scan=self._scan, on_change=self._changed
        )
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._waiting: dict[str, Waiting] = {}
        self._scanned_before = False
        self._stopping = threading.Event()
        self._snapshot = build_snapshot((), self._rules, tasks_of)

    def start(self) -> None:
        """List everything, then watch. Hashing goes on in the background after this returns."""
        self._scan()
        self._pool.start()
        self._watcher.start()

    def stop(self) -> None:
        self._stopping.set()
        self._watcher.stop()
        self._pool.stop()
        self._store.flush()

    def entries(self) -> list[Entry]:
        """All checkpoints, sorted by name."""
        return list(self._snapshot.entries)

    def is_current(self, key: str) -> bool:
        """Whether an entry of this key is still what lies on disk."""
        return key in self._snapshot.keys

    def resolve(self, name: str, *, task: str | None = None) -> Entry:
        """The checkpoint that a request's `model` means; `task` decides between several.

        Broken ones are returned too. Raises ModelNotFound; ModelBusy while it is being written.
        """
        try:
            return self._snapshot.names.resolve(name, task)
        except ModelNotFound as error:
            raise not_there(error, name, self._waiting, self._settle_s) from None

    def default_for(self, task: str) -> Entry:
        """The checkpoint when a request names none. Raises InvalidInput with the candidates."""
        return self._snapshot.names.default_for(task)

    def is_among(self, entry: Entry, names: Collection[str]) -> bool:
        return self._snapshot.names.is_among(entry, names)

    def ensure_fresh(self, entry: Entry) -> Entry:
        """The entry as it is on disk now: the same after a few stat calls, or a new one.

        Waits while the checkpoint is being written, up to twice the settle time: not for the event
        loop. Raises ModelNotFound when it is gone, ModelBusy when it still moves.
        """
        current = self._snapshot.by_path.get(entry.path)
        if (
            current is not None
            and not moves(entry.path, current, self._waiting)
            and all(map(self._is_unchanged, paths_of(current, self._records)))
        ):
            return current
        deadline = time.monotonic() + 2 * self._settle_s
        pause_s = self._scan()
        while (
            moves(entry.path, self._snapshot.by_path.get(entry.path), self._waiting)
            and time.monotonic() < deadline
            and not self._stopping.is_set()
        ):
            self._stopping.wait(min(max(pause_s or 0.0, 0.01), self._settle_s))
            pause_s = self._scan()
        return self._current(entry)

    def on_disk(self, entry: Entry) -> CheckpointOnDisk:
        """The files behind an entry, for a family to look into. Raises ModelNotFound."""
        if (record := self._records.get(entry.path)) is None:
            raise _gone(entry)
        candidate = record.conversion or record.candidate
        return CheckpointOnDisk(candidate, self._open_file, record.overrides)

    def mark_broken(self, entry: Entry, reason: str) -> None:
        """Using it showed that it is broken, until its files or its components' change."""
        with self._lock:
            record = self._records.get(entry.path)
            if record is None or entry.key not in self._snapshot.keys:
                return
            self._publish({**self._records, entry.path: broken(record, entry, reason)})

    def identify(self, entry: Entry) -> Entry:
        """The entry with its SHA-256, hashed in the calling thread if need be; without it when the
        files cannot be read, or change. Raises ModelNotFound.
        """
        record = self._records.get(entry.path)
        if record is None:
            raise _gone(entry)
        self._hashed([self._pool.hash_one(job) for job in self._inspector.missing_hashes(record)])
        return self._current(entry)

    def take_conversion(self, entry: Entry) -> Entry:
        """The entry after its pickles were converted. Raises ModelNotFound."""
        with self._lock:
            records = {
                path: self._inspector.with_conversion(record)
                for path, record in self._records.items()
            }
            if records != self._records:
                self._publish(records)
            self._store.flush()
        return self._current(entry)

    def rescan(self) -> None:
        """Scan now, in the calling thread."""
        self._scan()

    def hash_now(self) -> None:
        """Hash what waits in the calling thread, for those who start no threads."""
        self._pool.drain()

    def _is_unchanged(self, path: str) -> bool:
        record = self._records.get(path)
        if record is None:
            return False
        known, now = record.candidate, scan_one(Path(path), Path(record.candidate.root))
        if now is None or self._inspector.has_lost_conversion(record):
            return False
        before = known.files, known.settings, known.problem
        return (now.files, now.settings, now.problem) == before

    def _current(self, entry: Entry) -> Entry:
        """What stands for the entry after a scan; equal contents elsewhere will do."""
        snapshot = self._snapshot
        current = snapshot.by_path.get(entry.path)
        if current is None and entry.path in self._waiting:
            raise being_written(entry.name, self._settle_s)
        current = current or (snapshot.names.by_id(entry.sha256) if entry.sha256 else None)
        if current is None:
            raise _gone(entry)
        return current

    def _scan(self) -> float | None:
        """One scan. Returns the seconds until a checkpoint that still moves may have settled."""
        with self._lock:
            found = scan(self._folders)
            now = self._clock()
            plan = plan_scan(
                {path: record.candidate for path, record in self._records.items()}, self._waiting,
                found, now=now, settle_s=self._settle_s, first=not self._scanned_before,
            )  # fmt: skip
            self._scanned_before = True
            records = self._apply(plan, now)
            # Before the records: a reader that finds a path in neither takes it for gone.
            self._waiting = plan.waiting
            if records != self._records:
                self._publish(records)
            self._store.flush()
            return next_settled_in(self._waiting, now=self._clock(), settle_s=self._settle_s)

    def _apply(self, plan: Plan, now: float) -> dict[str, Record]:
        """The plan carried out on a copy of the records, so that readers never see half of it."""
        records = {path: record for path, record in self._records.items() if path not in plan.gone}
        for candidate in sorted(plan.settled, key=lambda item: item.name):
            if candidate.path in plan.renamed:
                self._inspector.carry_over(
                    self._records[plan.renamed[candidate.path]].candidate, candidate
                )
            records[candidate.path] = self._inspector.look_into(
                candidate, self._records.get(candidate.path)
            )
        for path, record in records.items():
            if record.recognition.passing or self._inspector.has_lost_conversion(record):
                records[path] = self._inspector.look_into(record.candidate, record)
        self._submit(records, now)
        return records

    def _submit(self, records: Mapping[str, Record], now: float) -> None:
        """Queue what has no hash. Broken ones get none; a failed hashing is retried later."""
        for record in records.values():
            retry = record.retry_at is not None and now >= record.retry_at
            if record.status == "hashing" or retry:
                self._pool.submit(self._inspector.missing_hashes(record))

    def _hashed(self, results: list[HashResult]) -> None:
        """Hashes arrived, from a hashing thread."""
        failures = {result.job.path: result.failure for result in results if result.failure}
        with self._lock:
            for result in results:
                if result.sha256 is not None:
                    self._store.remember_hash(result.job.path, result.job.stat, result.sha256)
            records = {
                path: self._with_hashes(record, failures) for path, record in self._records.items()
            }
            if records != self._records:
                self._publish(records)
            self._store.flush()

    def _with_hashes(self, record: Record, failures: Mapping[str, str]) -> Record:
        if record.sha256 is not None:
            return record
        for file in record.candidate.files if failures else ():
            if (failure := failures.get(file_path(record.candidate, file))) is not None:
                reason, retry_at = f"{file.relative} {failure}", self._clock() + _RETRY_S
                return dataclasses.replace(record, hash_failure=reason, retry_at=retry_at)
        return self._inspector.identified(record)

    def drop_conversions(self) -> None:
        """Remove those whose originals are gone or changed, once what there is is known."""
        if self._converted is None or self._waiting:
            return
        wanted = wanted_conversions(self._records.values())
        if wanted is not None and all(folder.is_dir() for folder in self._folders):
            self._converted.drop_all_but(wanted)

    def _changed(self) -> None:
        """On the watching thread, after something was published."""
        self.drop_conversions()
        if self._on_change is not None:
            self._on_change()

    def _publish(self, records: dict[str, Record]) -> None:
        before, self._records = self._snapshot, records
        self._snapshot = build_snapshot(records.values(), self._rules, self._tasks_of)
        report(before, self._snapshot, being_written=self._waiting.keys())
        self._watcher.published()


def _gone(entry: Entry) -> ModelNotFound:
    message = f"{entry.name!r} is no longer there"
    return ModelNotFound(message, param="model", details={"nearest": []})
