"""How far a load is, measured by the memory that the process has taken since it began."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

log = structlog.get_logger(__name__)

TICK_S = 0.25
ALMOST = 0.99  # only who loads knows that it is done


class LoadProgress:
    """Tells the fraction loaded, on a thread of its own, for the body of a `with` block.

    Tells it every `TICK_S` also when nothing grew, for it is the load's sign of life.

    Args:
        tell: called with fractions that never shrink. If it raises, no more is told.
        held_bytes: what the process holds now.
        wait: waits for the event, at most so many seconds, and returns whether it is set.
    """

    def __init__(
        self,
        tell: Callable[[float], None],
        estimate_bytes: int,
        held_bytes: Callable[[], int],
        *,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
    ) -> None:
        self._tell = tell
        self._estimate_bytes = max(1, estimate_bytes)
        self._held_bytes = held_bytes
        self._wait = wait
        self._ended = threading.Event()
        self._held_at_start = held_bytes()
        self._thread = threading.Thread(target=self._run, name="load-progress", daemon=True)

    def __enter__(self) -> LoadProgress:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        fraction = 0.0
        try:
            while not self._wait(self._ended, TICK_S):
                grown = (self._held_bytes() - self._held_at_start) / self._estimate_bytes
                fraction = min(max(fraction, grown), ALMOST)
                self._tell(fraction)
        except Exception:
            log.exception("load_progress_failed")
