"""One bundle's place in the cache, and what a request wants of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from onebox.core.contracts import Bundle, Entry
from onebox.core.errors import AppError, InferenceFailed, OutOfMemory
from onebox.runtime.budget import Resident


@dataclass(slots=True)
class Slot:
    """One bundle's place in memory. Changed only under `BundleCache._changed`."""

    entry: Entry
    size_bytes: int
    state: Literal["loading", "ready", "leaving"]
    bundle: Bundle | None = None
    leases: int = 0
    reserved_bytes: int = 0
    last_released: float = 0.0
    retired: bool = False

    def resident(self) -> Resident:
        return Resident(
            self.entry.key,
            self.size_bytes,
            self.reserved_bytes,
            self.leases if self.state == "ready" else 1,
            bool(self.entry.overrides.get("pin")),
            self.last_released,
        )

    def is_overdue(self, now: float, idle_timeout_s: float) -> bool:
        """Whether it may go: its files did, or nobody used it for its idle time."""
        if self.state != "ready" or self.leases:
            return False
        if self.retired:
            return True
        timeout_s = float(self.entry.overrides.get("idle_timeout", idle_timeout_s))
        pinned = bool(self.entry.overrides.get("pin"))
        return timeout_s > 0 and not pinned and now - self.last_released >= timeout_s


@dataclass(frozen=True, slots=True)
class Want:
    """What a lease is asked for.

    Attributes:
        check: called while waiting; raises when the request must stop.
        loading: told the fraction loaded, if a load is needed.
    """

    entry: Entry
    estimate_bytes: int
    reserve_bytes: int
    check: Callable[[], None]
    loading: Callable[[float], None]


def load_error(entry: Entry, error: BaseException) -> AppError:
    """What those who wait are told. Only our own errors' texts are safe to pass on."""
    if isinstance(error, AppError):
        return error
    if type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError):
        return OutOfMemory(f"not enough memory to load {entry.name}", retry_after_s=5)
    return InferenceFailed(f"{entry.name} could not be loaded; the server's log says why")
