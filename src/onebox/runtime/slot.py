"""One bundle's place in the cache, and what a request wants of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from onebox.core.contracts import Bundle, Entry
from onebox.core.errors import AppError, InferenceFailed, ModelBusy, ModelTooLarge, OutOfMemory
from onebox.hardware.out_of_memory import is_out_of_memory
from onebox.runtime.budget import Resident
from onebox.runtime.wire import BundleStats


@dataclass(slots=True)
class Slot:
    """One bundle's place in memory. Changed only under `Slots._changed`.

    `size_bytes` is the estimate until the bundle is loaded, `extra_bytes` what it took since, and
    `last_free` when there last was no lease.
    """

    entry: Entry
    size_bytes: int
    state: Literal["loading", "ready", "leaving"]
    bundle: Bundle | None = None
    extra_bytes: int = 0
    leases: int = 0
    reserved_bytes: int = 0
    last_released: float = 0.0
    last_free: float = 0.0
    retired: bool = False

    @property
    def pinned(self) -> bool:
        return bool(self.entry.overrides.get("pin"))

    @property
    def held_bytes(self) -> int:
        return self.size_bytes + self.extra_bytes

    def has_been_free(self, since: float) -> bool:
        """Whether its leases are short ones: at some time since then there was none."""
        return self.leases == 0 or self.last_free >= since

    def resident(self) -> Resident:
        return Resident(
            self.entry.key,
            self.held_bytes,
            self.reserved_bytes,
            self.leases if self.state == "ready" else 1,
            self.pinned,
            self.last_released,
        )

    def stats(self) -> BundleStats:
        return BundleStats(
            self.entry.key,
            self.entry.name,
            self.entry.family or "",
            self.state,
            self.held_bytes,
            self.reserved_bytes,
            self.leases,
            self.pinned,
        )

    def is_overdue(self, now: float, idle_timeout_s: float) -> bool:
        """Whether it may go: its files did, or nobody used it for its idle time."""
        if self.state != "ready" or self.leases:
            return False
        if self.retired:
            return True
        timeout_s = float(self.entry.overrides.get("idle_timeout", idle_timeout_s))
        return timeout_s > 0 and not self.pinned and now - self.last_released >= timeout_s


class OnLoading(Protocol):
    """Told the fraction loaded, and with fraction 1 the measured size."""

    def __call__(self, fraction: float, size_bytes: int | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Want:
    """What a lease is asked for.

    Attributes:
        check: called while waiting; raises when the request must stop.
        loading: called if a load is needed: 0 first, then from a thread of the load's own, also
            when nothing grew, last 1 with the size.
    """

    entry: Entry
    estimate_bytes: int
    reserve_bytes: int
    check: Callable[[], None]
    loading: OnLoading


def load_error(entry: Entry, error: BaseException) -> AppError:
    """What those who wait are told. Only our own errors' texts are safe to pass on.

    It holds no frame of the load, for those hold the weights that were loaded so far.
    """
    if isinstance(error, AppError):
        error.__cause__ = error.__context__ = error.__traceback__ = None
        return error
    if is_out_of_memory(error):
        return OutOfMemory(f"not enough memory to load {entry.name}; unload another model first")
    return InferenceFailed(f"{entry.name} could not be loaded; the server's log says why")


def too_large(want: Want, needed_bytes: int, budget_bytes: int) -> ModelTooLarge:
    return ModelTooLarge(
        f"{want.entry.name} needs {needed_bytes} bytes for this request and the memory budget is "
        f"{budget_bytes} bytes; ask for less, or raise ONEBOX_MEMORY_BUDGET",
        details={"needed_bytes": needed_bytes, "budget_bytes": budget_bytes},
    )


def waited_too_long(want: Want, pool_bytes: int) -> OutOfMemory:
    return OutOfMemory(
        f"running requests hold the memory that {want.entry.name} needs "
        f"({want.estimate_bytes + want.reserve_bytes} of {pool_bytes} bytes); try again later"
    )


def in_use(slot: Slot) -> ModelBusy:
    return ModelBusy(
        f"{slot.entry.name} is in use by {slot.leases} request(s)", details={"leases": slot.leases}
    )
