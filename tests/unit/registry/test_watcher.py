from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from onebox.registry import HashStore, Registry
from onebox.registry.watcher import Watcher
from tests.unit.registry.fakes import TASKS, FakeFamily, put, weights

PATIENCE_S = 60.0


class Listener:
    """Waits for a condition, looking again whenever the registry says that something changed."""

    def __init__(self) -> None:
        self._condition = threading.Condition()

    def __call__(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def wait_until(self, holds: Callable[[], bool]) -> bool:
        with self._condition:
            return self._condition.wait_for(holds, timeout=PATIENCE_S)


def create_registry(
    folder: Path, store: HashStore, listener: Listener, interval_s: float
) -> Registry:
    return Registry(
        [folder], store, scan_interval_s=interval_s, aliases={}, task_aliases={}, default_models={},
        on_change=listener, families={"fake": FakeFamily()},
        tasks_of=lambda family, own: TASKS[family],
        settle_s=0.05,
    )  # fmt: skip


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture
def registry(folder: Path, tmp_path: Path, listener: Listener) -> Iterator[Registry]:
    store = HashStore(tmp_path / "cache.db")
    registry = create_registry(folder, store, listener, interval_s=3600)
    yield registry
    registry.stop()
    store.close()


def statuses(registry: Registry) -> dict[str, str]:
    return {entry.name: entry.status for entry in registry.entries()}


def test_events_bring_changes_at_once(folder: Path, registry: Registry, listener: Listener) -> None:
    put(folder / "old.safetensors", weights(), age_s=1e9)
    registry.start()
    assert set(statuses(registry)) == {"old"}
    put(folder / "deep" / "new.safetensors", weights(b"new"), age_s=None)
    ready = {"old": "ready", "deep/new": "ready"}
    assert listener.wait_until(lambda: statuses(registry) == ready)
    (folder / "old.safetensors").unlink()
    assert listener.wait_until(lambda: statuses(registry) == {"deep/new": "ready"})


class BlindObserver:
    """A backend that cannot watch anything."""

    def schedule(self, *arguments: Any, **options: Any) -> None:
        raise OSError(28, "inotify watch limit reached")


def test_the_sweep_finds_what_sends_no_events(folder: Path) -> None:
    scans = threading.Semaphore(0)

    def scan() -> None:
        scans.release()

    watcher = Watcher([folder], interval_s=0.01, scan=scan, create_observer=BlindObserver)  # type: ignore[arg-type]
    with capture_logs() as logs:
        watcher.start()
        for _ in range(3):
            assert scans.acquire(timeout=PATIENCE_S)
        watcher.stop()
    assert [line["event"] for line in logs] == ["folder cannot be watched; it is swept instead"]


def test_a_failing_scan_or_listener_does_not_end_the_watching(folder: Path) -> None:
    scans = threading.Semaphore(0)

    def scan() -> float | None:
        scans.release()
        watcher.published()
        raise ZeroDivisionError

    def on_change() -> None:
        raise ZeroDivisionError

    watcher = Watcher([folder], interval_s=0.01, scan=scan, on_change=on_change)
    with capture_logs():
        watcher.start()
        for _ in range(3):
            assert scans.acquire(timeout=PATIENCE_S)
        watcher.stop()


def test_a_scan_may_ask_for_another_one(folder: Path) -> None:
    scans = threading.Semaphore(0)

    def scan() -> float | None:
        scans.release()
        return 0.01

    watcher = Watcher([folder], interval_s=3600, scan=scan)
    watcher.start()
    for _ in range(3):
        assert scans.acquire(timeout=PATIENCE_S)
    watcher.stop()


def test_a_folder_that_is_made_later_is_watched(
    folder: Path, registry: Registry, listener: Listener, tmp_path: Path
) -> None:
    folder.rmdir()
    store = HashStore(tmp_path / "other.db")
    sweeping = create_registry(folder, store, listener, interval_s=0.05)
    sweeping.start()
    put(folder / "a.safetensors", weights(), age_s=None)
    assert listener.wait_until(lambda: statuses(sweeping) == {"a": "ready"})
    sweeping.stop()
    store.close()


def test_stop_before_start_is_fine(registry: Registry) -> None:
    registry.stop()
