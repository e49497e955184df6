"""A circuit breaker: a server that keeps failing is left alone for a while.

closed: everything goes through; after some failures in a row it opens.
open: nothing goes through, until it has been open for its time.
half_open: one request goes through at a time; it closes the breaker, or opens it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]

FAILURES = 5
OPEN_S = 10.0
# Until the one request that is let through will have told more.
PROBE_S = 1.0


class CircuitOpen(Exception):
    """The server is being left alone; `retry_after_s` is when one may ask it again."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"it is left alone for another {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class CircuitBreaker:
    """Of one server. Lives on one event loop.

    Args:
        failures: in a row that open it.
        open_s: how long it stays open.
        clock: seconds that only grow.
        changed: told each new state.
    """

    def __init__(
        self,
        *,
        failures: int = FAILURES,
        open_s: float = OPEN_S,
        clock: Callable[[], float] = time.monotonic,
        changed: Callable[[BreakerState], None] = lambda _: None,
    ) -> None:
        self._max_failures = failures
        self._open_s = open_s
        self._clock = clock
        self._changed = changed
        self._state: BreakerState = "closed"
        self._failures = 0
        self._opened_at = 0.0
        self._probe: Passage | None = None

    @property
    def state(self) -> BreakerState:
        return self._state

    def enter(self) -> Passage:
        """Let one request through; tell the passage how it went. Raises CircuitOpen."""
        if self._state == "open":
            left_s = self._opened_at + self._open_s - self._clock()
            if left_s > 0:
                raise CircuitOpen(left_s)
            self._become("half_open")
        passage = Passage(self)
        if self._state == "half_open":
            if self._probe is not None:
                raise CircuitOpen(PROBE_S)
            self._probe = passage
        return passage

    @contextmanager
    def passage(self, is_failure: Callable[[Exception], bool]) -> Iterator[None]:
        """A request as a `with` block. Raises CircuitOpen.

        Args:
            is_failure: whether an error is the server's: another one means that it answered. A
                cancelled request tells nothing.
        """
        passage = self.enter()
        try:
            yield
        except Exception as error:
            passage.end(ok=not is_failure(error))
            raise
        else:
            passage.end(ok=True)
        finally:
            passage.end(ok=None)

    def _ended(self, passage: Passage, ok: bool | None) -> None:
        was_probe = passage is self._probe
        if was_probe:
            self._probe = None
        elif self._state != "closed":
            # Begun before it opened, it tells nothing about now.
            return
        if ok:
            self._failures = 0
            self._become("closed")
        elif ok is False:
            self._failures += 1
            if was_probe or self._failures >= self._max_failures:
                self._opened_at = self._clock()
                self._become("open")

    def _become(self, state: BreakerState) -> None:
        if state != self._state:
            self._state = state
            self._changed(state)


class Passage:
    """One request that was let through."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker: CircuitBreaker | None = breaker

    def end(self, *, ok: bool | None) -> None:
        """How it went; None when nobody can tell, as when it was cancelled. The first call counts.

        A request that is never ended may keep the breaker half open for ever.
        """
        breaker, self._breaker = self._breaker, None
        if breaker is not None:
            breaker._ended(self, ok)
