"""When to scan: soon after the file system reports a change, and every so often anyway."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog
from watchdog.events import (
    DirCreatedEvent,
    DirDeletedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

_log = structlog.get_logger(__name__)

# Our own reading makes opened and closed-without-write events; those must not wake us.
_EVENTS: list[type[FileSystemEvent]] = [
    FileCreatedEvent, FileModifiedEvent, FileMovedEvent, FileDeletedEvent, FileClosedEvent,
    DirCreatedEvent, DirMovedEvent, DirDeletedEvent,
]  # fmt: skip
_COLLECT_S = 0.05
# A file being written sends events all the time; scanning takes at most a fifth of one core.
_REST_PER_SCAN = 4
_MIN_REST_S = 0.2


class Watcher:
    """Owns one thread that calls `scan` and `on_change`.

    `scan` returns the seconds until it must run again, or None.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        *,
        interval_s: float,
        scan: Callable[[], float | None],
        on_change: Callable[[], None] | None = None,
        create_observer: Callable[[], BaseObserver] = Observer,
    ) -> None:
        self._folders = folders
        self._interval_s = interval_s
        self._scan = scan
        self._on_change = on_change
        self._create_observer = create_observer
        self._observers: dict[Path, BaseObserver] = {}
        self._warned: set[Path] = set()
        self._condition = threading.Condition()
        self._scan_at = 0.0
        self._rest_until = 0.0
        self._changed = False
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="registry-watch", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        for observer in self._observers.values():
            observer.stop()
        for observer in self._observers.values():
            observer.join()

    def wake(self) -> None:
        """A file changed: scan soon."""
        with self._condition:
            self._scan_at = min(self._scan_at, time.monotonic() + _COLLECT_S)
            self._condition.notify_all()

    def published(self) -> None:
        """A new list is out: have `on_change` called from the thread."""
        with self._condition:
            self._changed = True
            self._condition.notify_all()

    def _run(self) -> None:
        while True:
            changed, scan_due = self._wait()
            if self._stopping:
                return
            if changed:
                self._tell()
            if scan_due:
                self._watch_folders()
                self._scan_once()

    def _wait(self) -> tuple[bool, bool]:
        with self._condition:
            while not self._stopping and not self._changed:
                rest = max(self._scan_at, self._rest_until) - time.monotonic()
                if rest <= 0:
                    break
                self._condition.wait(rest)
            changed, self._changed = self._changed, False
            scan_due = time.monotonic() >= max(self._scan_at, self._rest_until)
            if scan_due:
                # Before scanning, so that an event during the scan asks for another one.
                self._scan_at = time.monotonic() + self._interval_s
            return changed, scan_due

    def _scan_once(self) -> None:
        started = time.monotonic()
        again_s: float | None = None
        try:
            again_s = self._scan()
        except Exception:  # one bad scan must not end the watching
            _log.exception("scan of the model folders failed")
        now = time.monotonic()
        with self._condition:
            self._rest_until = now + max(_MIN_REST_S, _REST_PER_SCAN * (now - started))
            if again_s is not None:
                self._scan_at = min(self._scan_at, now + again_s)

    def _tell(self) -> None:
        if self._on_change is None:
            return
        try:
            self._on_change()
        except Exception:  # the listener's fault must not end the watching
            _log.exception("on_change failed")

    def _watch_folders(self) -> None:
        """Watch each folder that is there and not watched yet."""
        for folder in self._folders:
            observer = self._observers.get(folder)
            if observer is not None and not (folder.is_dir() and _is_watching(observer)):
                observer.stop()
                del self._observers[folder]
                observer = None
            if observer is None and folder.is_dir() and folder not in self._warned:
                self._watch(folder)

    def _watch(self, folder: Path) -> None:
        try:
            observer = self._create_observer()
            # The real path: a watch on a link would watch the link itself.
            observer.schedule(
                _Waker(self.wake), os.path.realpath(folder), recursive=True, event_filter=_EVENTS
            )
            observer.start()
        except (
            Exception
        ) as error:  # inotify limits, unsupported file systems: whatever the backend raises
            self._warned.add(folder)
            _log.warning(
                "folder cannot be watched; it is swept instead",
                folder=str(folder), reason=str(error), interval_s=self._interval_s,
            )  # fmt: skip
        else:
            self._observers[folder] = observer


class _Waker(FileSystemEventHandler):
    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    def on_any_event(self, event: FileSystemEvent) -> None:
        self._wake()


def _is_watching(observer: BaseObserver) -> bool:
    """False once the watched folder was removed: its emitter ends then."""
    return observer.is_alive() and all(emitter.is_alive() for emitter in observer.emitters)
