"""The bundles in memory: leases, one load at a time, eviction by bytes, unloading when idle."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager

import structlog

from onebox.core.contracts import Bundle, Entry
from onebox.core.errors import ModelBusy
from onebox.engines.work import LoadFailed
from onebox.runtime.budget import WAIT, Claimed, Plan
from onebox.runtime.freed_memory import FreedMemory
from onebox.runtime.growth import resize
from onebox.runtime.leaks import LeakWatch
from onebox.runtime.loader import Loader
from onebox.runtime.share import Share
from onebox.runtime.slot import Slot, Want, waited_too_long
from onebox.runtime.slots import Slots
from onebox.runtime.wire import BundleStats

log = structlog.get_logger(__name__)

CLAIM_AGAIN_S = 1.0
# Who has waited for this part of the lease time-out is next: long enough that models which do not
# fit together are not loaded in turns for each request, and well before the wait is given up.
TURN_SHARE = 0.25


class BundleCache:
    """Owns every loaded bundle of one worker. Safe from any thread.

    Attributes:
        leaks: what unloads gave back and what they did not.

    Args:
        share: how much memory there is for bundles and working memory.
        load: loads the weights of an entry.
        free_memory: gives freed memory back to the device and the system.
        held_bytes: what this process holds of the pool now.
        leak_limit_bytes: what may stay behind after unloads.
        lease_timeout_s: how long to wait for memory that leased bundles hold.
        poll_s: how often a waiter asks whether its client is still there.
        evict_wait_s: how long those who only want to evict wait for a load to end.
    """

    def __init__(
        self,
        share: Share,
        load: Callable[[Entry], Bundle],
        free_memory: Callable[[], None],
        *,
        held_bytes: Callable[[], int],
        leak_limit_bytes: int,
        lease_timeout_s: float,
        idle_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
        poll_s: float = 0.1,
        evict_wait_s: float = 0.5,
    ) -> None:
        self.leaks = LeakWatch(leak_limit_bytes)
        self._share = share
        self._loader = Loader(load, free_memory, held_bytes, self.leaks, clock)
        self._slots = Slots(share, clock)
        self._freed = FreedMemory(free_memory, clock)
        self._lease_timeout_s = lease_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self._poll_s = poll_s
        self._evict_wait_s = evict_wait_s
        self._loads = threading.Lock()

    @contextlib.contextmanager
    def lease(self, want: Want) -> Iterator[Bundle]:
        """The bundle, kept in memory for the body; loaded first if it is not there.

        Raises ModelTooLarge (can never fit), OutOfMemory (leased bundles held the memory too
        long), LoadFailed, or whatever `want.check` raises.
        """
        with self._leased(self._acquire(want), want) as bundle:
            yield bundle

    def lease_now(self, want: Want) -> AbstractContextManager[Bundle] | None:
        """The same, to be entered at once; None when it would load, evict, claim or wait."""
        slot = self._slots.lease(want)
        return None if slot is None else self._leased(slot, want)

    def working_bytes(self, key: str, estimate_bytes: int) -> int:
        """The most working memory that a batch on this bundle may take.

        `estimate_bytes` is the bundle's size while it is not loaded.
        """
        return self._slots.working_bytes(key, estimate_bytes)

    def resize(self, key: str, extra_bytes: int) -> bool:
        """As `growth.resize`."""
        return resize(self._slots, self._share, self._evict_soon, key, extra_bytes)

    def others_wait(self, key: str) -> bool:
        return self._slots.others_wait(key)

    def unload(self, key: str, wait_s: float, on_busy: Callable[[], None] | None = None) -> None:
        """Drop a bundle. Does nothing if it is not there.

        From the call on nobody gets a new lease of it: who wants one waits, and then loads it
        again. Otherwise requests that follow each other closely would keep it for ever.

        Args:
            wait_s: how long its leases, or a load, may take to end.
            on_busy: called once if it is leased, when no further lease can begin.

        Raises ModelBusy when the time is over; the bundle stays and may be leased again.
        """
        end = self._clock() + wait_s
        slot = self._slots.begin_to_leave(key, wait_s)
        if slot is None:
            return
        try:
            if slot.leases and on_busy is not None:
                on_busy()
            self._slots.wait_for_leases(slot, max(0.0, end - self._clock()))
            with self._loads_within(max(0.0, end - self._clock())) as mine:
                if not mine:
                    raise ModelBusy("another model is being loaded; try again later")
                self._close([slot])
        finally:
            self._slots.stay(slot)

    def retire(self, keys: Iterable[str]) -> None:
        """Their files are gone or changed: `unload_idle` drops them as soon as nobody uses them."""
        self._slots.retire(keys)

    def unload_idle(self) -> None:
        """Drop what nobody has used for its idle time, counted from the last release."""
        with self._loads_within(0.0) as mine:
            if mine:
                self._close(self._slots.leave_overdue(self._idle_timeout_s))

    def evict_idle(self) -> None:
        """Drop all that is idle and not pinned. Does nothing while a load takes long."""
        with self._loads_within(self._evict_wait_s) as mine:
            if mine:
                self._evict_all_idle()

    def give_up(self, size_bytes: int, evict: bool) -> int:
        """Make the share smaller by up to `size_bytes`. Returns the new share.

        Gives what holds nothing; with `evict` also what idle bundles hold, no more of them than
        are needed, and none while a load takes long. Not for the thread that takes the frames.
        """
        missing = size_bytes - self._slots.give_up(size_bytes)
        if evict and missing > 0 and not self._share.keeps:
            with self._loads_within(self._evict_wait_s) as mine:
                if mine:
                    self._evict(self._slots.leave_idle(missing), "another worker")
                    self._slots.give_up(missing)
        return self._share.share_bytes

    def check_leaks(self, nothing_runs: bool) -> None:
        """Look for leaks, if unloads gave reason to. Called now and then.

        Does nothing unless nothing runs, is leased or loads, for that would count as leaked.
        """
        if not (nothing_runs and self.leaks.suspect):
            return
        with self._loads_within(0.0) as mine:
            before = self._slots.leases_so_far()
            if mine and before is not None:
                self._loader.judge_leaks(lambda: self._slots.leases_so_far() == before)

    def return_freed(self) -> None:
        """Give back what runs have freed, once there was none for a while. Called now and then."""
        with self._loads_within(0.0) as mine:
            if mine:
                self._freed.look(self._slots.leases_so_far())

    def stats(self) -> tuple[BundleStats, ...]:
        return self._slots.stats()

    def close(self) -> None:
        """Drop everything, leased or not. The worker is going down."""
        for bundle in self._slots.take_all():
            bundle.close()

    @contextlib.contextmanager
    def _leased(self, slot: Slot, want: Want) -> Iterator[Bundle]:
        try:
            assert slot.bundle is not None
            yield slot.bundle
        finally:
            self._slots.release(slot, want.reserve_bytes)

    def _acquire(self, want: Want) -> Slot:
        started = claimed_at = self._clock()
        deadline = started + self._lease_timeout_s
        claimed: Claimed = "nothing"
        try:
            while True:
                found = self._slots.lease(want) or self._load_if_room(want, claimed)
                if isinstance(found, Slot):
                    return found
                if found is None:
                    want.check()
                elif found.verdict == "claim":
                    self._share.claim(found.claim_bytes, evict=claimed != "nothing")
                    claimed = "slack" if claimed == "nothing" else "idle"
                    claimed_at = self._clock()
                    want.check()
                else:
                    self._share.let_go()
                    if self._clock() >= started + TURN_SHARE * self._lease_timeout_s:
                        self._slots.take_turn(want, started)
                    self._wait_for_change(want, deadline)
                    if self._clock() >= claimed_at + CLAIM_AGAIN_S:
                        claimed = "nothing"
        finally:
            self._share.let_go()
            self._slots.end_turn(want)

    def _load_if_room(self, want: Want, claimed: Claimed) -> Slot | Plan | None:
        """The leased slot, or what to do instead, or None while others load."""
        with self._loads_within(self._poll_s) as mine:
            if not mine:
                return None
            plan, leaving = self._slots.make_room(want, claimed)
            self._evict(leaving, want.entry.name)
            if plan.verdict != "fits":
                return plan
            # Leased before `_loads` is free again, or another waiter might evict it at once.
            return self._load(want) or WAIT

    def _load(self, want: Want) -> Slot | None:
        """Load the bundle unless another waiter just did, and lease it. Called under `_loads`."""
        slot = self._slots.start_loading(want)
        if slot is None:
            return self._slots.lease(want)
        try:
            bundle = self._loader.load(want, self._evict_all_idle)
        except LoadFailed:
            self._slots.forget(slot)
            raise
        leased = self._slots.finish_loading(slot, bundle, want)
        try:
            want.loading(1.0, bundle.size_bytes)
        except BaseException:
            if leased:
                self._slots.release(slot, want.reserve_bytes)
            raise
        return slot if leased else None

    def _wait_for_change(self, want: Want, deadline: float) -> None:
        want.check()
        # An unload has a bound of its own, and then there is room again.
        if self._clock() >= deadline and not self._slots.is_leaving(want.entry.key):
            raise waited_too_long(want, self._share.pool_bytes)
        self._slots.wait(self._poll_s)

    def _evict_all_idle(self) -> None:
        self._evict(self._slots.leave_idle(None), "what ran out of memory")

    def _evict(self, leaving: Sequence[Slot], for_whom: str) -> None:
        for slot in leaving:
            log.info("evict", model=slot.entry.name, size_bytes=slot.size_bytes, for_whom=for_whom)
        self._close(leaving)

    def _evict_soon(self, leaving: Sequence[Slot]) -> bool:
        """For what is in use and grows; not while a load takes long: then they stay."""
        with self._loads_within(self._evict_wait_s) as mine:
            if mine:
                self._evict(leaving, "what is in use")
            else:
                self._slots.stay_all(leaving)
            return mine

    def _close(self, leaving: Sequence[Slot]) -> None:
        """Called under `_loads`."""
        for slot in leaving:
            try:
                bundle = self._slots.take(slot)
                if bundle is not None:
                    self._loader.close(slot.entry, bundle)
            finally:
                self._slots.forget(slot)

    @contextlib.contextmanager
    def _loads_within(self, timeout_s: float) -> Iterator[bool]:
        """Whether this thread may load and close in the body; not while another one does."""
        mine = self._loads.acquire(timeout=timeout_s)
        try:
            yield mine
        finally:
            if mine:
                self._loads.release()
