"""The bundles in memory: leases, one load at a time, eviction by bytes, unloading when idle."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import structlog

from onebox.core.contracts import Bundle, Entry
from onebox.core.errors import ModelBusy, ModelTooLarge, OutOfMemory
from onebox.engines.work import LoadFailed
from onebox.runtime.budget import plan_room
from onebox.runtime.slot import Slot, Want, load_error
from onebox.runtime.wire import BundleStats

log = structlog.get_logger(__name__)

UNLOAD_WAIT_S = 1.0


class BundleCache:
    """Owns every loaded bundle of one worker. Safe from any thread.

    Args:
        load: loads the weights of an entry.
        free_memory: gives freed memory back to the device and the system.
        lease_timeout_s: how long to wait for memory that leased bundles hold.
        poll_s: how often a waiter asks whether its client is still there.
    """

    def __init__(
        self,
        budget_bytes: int,
        load: Callable[[Entry], Bundle],
        free_memory: Callable[[], None],
        *,
        lease_timeout_s: float,
        idle_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        poll_s: float = 0.1,
    ) -> None:
        self.budget_bytes = budget_bytes
        self._load = load
        self._free_memory = free_memory
        self._lease_timeout_s = lease_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self._poll_s = poll_s
        self._loads = threading.Lock()
        self._changed = threading.Condition()
        self._slots: dict[str, Slot] = {}

    @contextlib.contextmanager
    def lease(self, want: Want) -> Iterator[Bundle]:
        """The bundle, kept in memory for the body; loaded first if it is not there.

        Raises ModelTooLarge (can never fit), OutOfMemory (leased bundles held the memory too
        long), LoadFailed, or whatever `want.check` raises.
        """
        slot = self._acquire(want)
        try:
            assert slot.bundle is not None
            yield slot.bundle
        finally:
            self._release(slot, want.reserve_bytes)

    def unload(self, key: str) -> None:
        """Drop a bundle. Does nothing if it is not there.

        Waits a moment for leases to end, for a request that was just answered still holds its own.
        Raises ModelBusy if it is leased after that.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_leased(key), UNLOAD_WAIT_S)
        if not self._loads.acquire(timeout=self._lease_timeout_s):
            raise ModelBusy("another model is being loaded; try again later")
        try:
            with self._changed:
                slot = self._slots.get(key)
                if slot is None:
                    return
                if slot.leases:
                    raise ModelBusy(
                        f"{slot.entry.name} is in use by {slot.leases} request(s)",
                        details={"leases": slot.leases},
                    )
                slot.state = "leaving"
            self._close(slot)
        finally:
            self._loads.release()

    def retire(self, keys: Iterable[str]) -> None:
        """Their files are gone or changed: `unload_idle` drops them as soon as nobody uses them."""
        with self._changed:
            for key in keys:
                if key in self._slots:
                    self._slots[key].retired = True

    def unload_idle(self) -> None:
        """Drop what nobody has used for its idle time, counted from the last release."""
        if not self._loads.acquire(blocking=False):
            return
        try:
            with self._changed:
                idle = [
                    slot
                    for slot in self._slots.values()
                    if slot.is_overdue(self._clock(), self._idle_timeout_s)
                ]
                for slot in idle:
                    slot.state = "leaving"
            for slot in idle:
                self._close(slot)
        finally:
            self._loads.release()

    def stats(self) -> tuple[BundleStats, ...]:
        with self._changed:
            return tuple(
                BundleStats(s.entry.key, s.entry.name, s.entry.family or "", s.size_bytes, s.leases)
                for s in self._slots.values()
                if s.state == "ready"
            )

    def close(self) -> None:
        """Drop everything, leased or not. The worker is going down."""
        with self._changed:
            slots = list(self._slots.values())
            self._slots.clear()
        for slot in slots:
            if slot.bundle is not None:
                slot.bundle.close()

    def _is_leased(self, key: str) -> bool:
        slot = self._slots.get(key)
        return slot is not None and slot.leases > 0

    def _acquire(self, want: Want) -> Slot:
        deadline = self._clock() + self._lease_timeout_s
        while True:
            if slot := self._try_lease(want):
                return slot
            if not self._loads.acquire(timeout=self._poll_s):
                want.check()
                continue
            try:
                # Leased before `_loads` is free again, or another waiter might evict it at once.
                if self._make_room(want):
                    self._load_slot(want)
                    if slot := self._try_lease(want):
                        return slot
            finally:
                self._loads.release()
            self._wait_for_change(want, deadline)

    def _try_lease(self, want: Want) -> Slot | None:
        """Lease the bundle if it is ready and its working reserve fits."""
        with self._changed:
            slot = self._slots.get(want.entry.key)
            if slot is None or slot.state != "ready" or not self._reserve_fits(slot, want):
                return None
            slot.leases += 1
            slot.reserved_bytes += want.reserve_bytes
            return slot

    def _reserve_fits(self, slot: Slot, want: Want) -> bool:
        used = sum(s.size_bytes + s.reserved_bytes for s in self._slots.values())
        return used + want.reserve_bytes <= self.budget_bytes

    def _make_room(self, want: Want) -> bool:
        """Evict for this want. False: leased bundles are in the way. Called under `_loads`."""
        with self._changed:
            own = self._slots.get(want.entry.key)
            others = [s.resident() for s in self._slots.values() if s is not own]
            needed = (own.size_bytes if own else want.estimate_bytes) + want.reserve_bytes
            if own is not None:
                needed += own.reserved_bytes
            plan = plan_room(needed, self.budget_bytes, others)
            if plan.verdict == "never" and (own is None or own.leases == 0):
                raise self._too_large(want, needed)
            leaving = [self._slots[key] for key in plan.evict] if plan.verdict == "fits" else []
            for slot in leaving:
                slot.state = "leaving"
        for slot in leaving:
            log.info(
                "evict",
                model=slot.entry.name,
                size_bytes=slot.size_bytes,
                for_model=want.entry.name,
            )
            self._close(slot)
        return plan.verdict == "fits"

    def _load_slot(self, want: Want) -> None:
        """Load the bundle unless another waiter just did. Called under `_loads`."""
        with self._changed:
            if want.entry.key in self._slots:
                return
            slot = Slot(want.entry, want.estimate_bytes, "loading")
            self._slots[want.entry.key] = slot
        started = self._clock()
        try:
            want.loading(0.0)
            bundle = self._load(want.entry)
        except BaseException as error:
            self._forget(slot)
            self._free_memory()
            log.exception("load_failed", model=want.entry.name)
            raise LoadFailed(load_error(want.entry, error)) from error
        with self._changed:
            slot.bundle, slot.size_bytes, slot.state = bundle, bundle.size_bytes, "ready"
            slot.last_released = self._clock()
            self._changed.notify_all()
        log.info(
            "loaded",
            model=want.entry.name,
            size_bytes=bundle.size_bytes,
            estimate_bytes=want.estimate_bytes,
            seconds=round(self._clock() - started, 3),
        )
        want.loading(1.0)

    def _wait_for_change(self, want: Want, deadline: float) -> None:
        want.check()
        if self._clock() >= deadline:
            raise OutOfMemory(
                f"running requests hold the memory that {want.entry.name} needs "
                f"({want.estimate_bytes + want.reserve_bytes} of {self.budget_bytes} bytes)",
                retry_after_s=self._lease_timeout_s,
            )
        with self._changed:
            self._changed.wait(self._poll_s)

    def _release(self, slot: Slot, reserve_bytes: int) -> None:
        with self._changed:
            slot.leases -= 1
            slot.reserved_bytes -= reserve_bytes
            slot.last_released = self._clock()
            self._changed.notify_all()

    def _close(self, slot: Slot) -> None:
        try:
            if slot.bundle is not None:
                slot.bundle.close()
        finally:
            slot.bundle = None
            self._forget(slot)
        self._free_memory()
        log.info("unloaded", model=slot.entry.name, size_bytes=slot.size_bytes)

    def _forget(self, slot: Slot) -> None:
        with self._changed:
            if self._slots.get(slot.entry.key) is slot:
                del self._slots[slot.entry.key]
            self._changed.notify_all()

    def _too_large(self, want: Want, needed: int) -> ModelTooLarge:
        return ModelTooLarge(
            f"{want.entry.name} needs {needed} bytes for this request and the memory budget is "
            f"{self.budget_bytes} bytes; ask for less, or raise ONEBOX_MEMORY_BUDGET",
            details={"needed_bytes": needed, "budget_bytes": self.budget_bytes},
        )
