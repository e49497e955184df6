"""`Nursery`: children ready to decode. Importing FFmpeg takes them some tenths of a second, so one
is kept ready from the first use on.
"""

from __future__ import annotations

import atexit
import threading

import structlog

from onebox.audio.decoding.process import Child, ChildFailed
from onebox.audio.decoding.slots import Slots

log = structlog.get_logger(__name__)

# Children of files that are looked into, or decoded in one go; and of files so long that decoding
# waits for whoever takes the windows.
SHORT_SLOTS = 4
LONG_SLOTS = 4


class Nursery:
    """Safe from any thread. Owns the spare child, and no other."""

    def __init__(self, *, short: int = SHORT_SLOTS, long: int = LONG_SLOTS) -> None:
        self.short = Slots(short)
        self.long = Slots(long)
        self._lock = threading.Lock()
        self._spare: Child | None = None
        self._growing = False
        self._closed = False
        self._known_to_exit = False

    def take(self) -> Child:
        """A child that has started; the caller's to end. Raises ChildFailed."""
        with self._lock:
            child, self._spare = self._spare, None
        if child is not None and not child.running:
            child.end()
            child = None
        made = child or _started()
        self._grow()
        return made

    def close(self) -> None:
        """End the spare one, and keep none from now on."""
        with self._lock:
            self._closed = True
            child, self._spare = self._spare, None
        if child is not None:
            child.end()

    def _grow(self) -> None:
        with self._lock:
            if self._growing or self._closed or self._spare is not None:
                return
            self._growing = True
            if not self._known_to_exit:
                self._known_to_exit = True
                atexit.register(self.close)
        threading.Thread(target=self._grow_one, name="decoder-spare", daemon=True).start()

    def _grow_one(self) -> None:
        child: Child | None = None
        try:
            child = _started()
        except (ChildFailed, OSError) as error:
            log.warning("no spare decoder", reason=str(error))
        with self._lock:
            self._growing = False
            if not self._closed:
                self._spare, child = child, None
        if child is not None:
            child.end()


def _started() -> Child:
    child = Child()
    try:
        child.wait_until_ready()
    except ChildFailed:
        child.end()
        raise
    return child


_SHARED = Nursery()


def shared_nursery() -> Nursery:
    """The one of this process."""
    return _SHARED
