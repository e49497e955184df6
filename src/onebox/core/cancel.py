"""A request's right to go on: cancelled by its client, or ended by its deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from onebox.core.errors import Cancelled, DeadlineExceeded


class CancelToken:
    """Asked between steps. Safe from any thread.

    Args:
        timeout_s: seconds from now until the request is out of time; None for never.
        clock: monotonic seconds.
    """

    def __init__(
        self, timeout_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cancelled = threading.Event()
        self._clock = clock
        self._timeout_s = timeout_s
        self.deadline = None if timeout_s is None else clock() + timeout_s

    def cancel(self) -> None:
        self._cancelled.set()

    def check(self) -> None:
        """Raise Cancelled or DeadlineExceeded when the request must stop."""
        if self._cancelled.is_set():
            raise Cancelled("the request was cancelled")
        if self.deadline is not None and self._clock() >= self.deadline:
            raise DeadlineExceeded(
                f"the request did not finish within {self._timeout_s:g} s",
                details={"timeout_s": self._timeout_s},
            )
