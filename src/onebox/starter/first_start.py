"""What a server's start does about the starter set: a child process fetches it beside the work."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Sequence

import structlog

from onebox.core.os_support import own_group
from onebox.core.settings import Settings
from onebox.starter.pull import missing_starters

_log = structlog.get_logger(__name__)

COMMAND = (sys.executable, "-m", "onebox", "pull", "starter", "--background")
_STOP_S = 5.0


class FirstStart:
    """Owns the child process and the thread that waits for it. The gateway fetches nothing itself:
    a child's memory goes with it, and it may be busy.

    `close` ends both; what came so far is kept for the next start.
    """

    def __init__(self, settings: Settings, command: Sequence[str] = COMMAND) -> None:
        self._settings = settings
        self._command = command
        self._child: subprocess.Popen[bytes] | None = None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns at once. Does nothing when nothing is missing, or with ONEBOX_STARTER=off."""
        if self._settings.starter == "off":
            return
        missing = missing_starters(self._settings)
        if not missing:
            return
        _log.info(
            "fetching the starter models in the background; ONEBOX_STARTER=off stops it",
            models=[starter.folder for starter in missing],
        )
        # The thread starts the child: on Linux a child may end with the thread it came from.
        self._thread = threading.Thread(target=self._run, name="starter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            child = self._child
        if child is not None and child.poll() is None:
            child.terminate()
        if self._thread is not None:
            self._thread.join(_STOP_S)

    def wait(self, timeout_s: float | None = None) -> None:
        """Until the child has ended."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            try:
                self._child = _spawn(self._command)
            except OSError as error:
                _log.warning("the starter models cannot be fetched", reason=str(error))
                return
        status = self._child.wait()
        if status and not self._closed.is_set():
            _log.warning(
                "fetching the starter models ended early; the next start goes on, and "
                "`onebox pull starter` does it by hand",
                status=status,
            )


def _spawn(command: Sequence[str]) -> subprocess.Popen[bytes]:
    """A group of its own: Ctrl-C is for the server, which then ends the child itself."""
    return subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **own_group()
    )
