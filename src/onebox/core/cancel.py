"""A request's right to go on: cancelled by its client, or ended by its deadline."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from onebox.core.errors import AppError, Cancelled, DeadlineExceeded


class CancelToken:
    """Asked between steps. Safe from any thread.

    Args:
        timeout_s: seconds from now until the request is out of time; None for never.
        clock: monotonic seconds.
    """

    def __init__(
        self, timeout_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reason: AppError | None = None
        self._clock = clock
        self._timeout_s = timeout_s
        self.deadline = None if timeout_s is None else clock() + timeout_s

    def cancel(self, reason: AppError | None = None) -> None:
        """Stop the request. The first reason stays."""
        if self._reason is None:
            self._reason = reason or Cancelled("the request was cancelled")

    def stopped(self) -> AppError | None:
        """Why the request must stop, or None when it may go on."""
        if self._reason is not None:
            return self._reason
        if self.deadline is not None and self._clock() >= self.deadline:
            return DeadlineExceeded(
                f"the request did not finish within {self._timeout_s:g} s",
                details={"timeout_s": self._timeout_s},
            )
        return None

    def check(self) -> None:
        """Raise Cancelled, DeadlineExceeded or the reason given when the request must stop."""
        if (error := self.stopped()) is not None:
            raise error


class _Watched(threading.local):
    check: Callable[[], None] | None = None


_watched = _Watched()


@contextlib.contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """In the body, `check_now` on this thread asks `check`. May be nested."""
    before, _watched.check = _watched.check, check
    try:
        yield
    finally:
        _watched.check = before


def check_now() -> None:
    """Raise when what this thread is doing must stop. For code deep inside a library's call."""
    if _watched.check is not None:
        _watched.check()
