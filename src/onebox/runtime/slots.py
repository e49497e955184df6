"""The table of a worker's bundles: who holds leases, how much is used, what is leaving."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from onebox.core.contracts import Bundle
from onebox.core.errors import ModelBusy
from onebox.runtime.budget import WAIT, Claimed, Limits, Plan, choose_idle, plan_room
from onebox.runtime.share import Share
from onebox.runtime.slot import Slot, Want, in_use, too_large
from onebox.runtime.wire import BundleStats


class Slots:
    """Every bundle that is in memory, on its way in or on its way out. Safe from any thread.

    Bundles themselves are loaded and closed by others: nothing here takes long.

    Args:
        share: how much memory there is for bundles and working memory.
    """

    def __init__(self, share: Share, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._changed = threading.Condition()
        self._slots: dict[str, Slot] = {}
        self._leases_so_far = 0
        self._turn: Want | None = None
        self._patient: list[Want] = []

    def lease(self, want: Want) -> Slot | None:
        """Lease the bundle if it is ready and its working reserve fits."""
        with self._changed:
            slot = self._slots.get(want.entry.key)
            if slot is None or slot.state != "ready" or self._is_anothers_turn(want):
                return None
            if self._used_bytes() + want.reserve_bytes > self._share.share_bytes:
                return None
            slot.leases += 1
            slot.reserved_bytes += want.reserve_bytes
            self._leases_so_far += 1
            return slot

    def take_turn(self, want: Want, since: float) -> None:
        """It has waited since then, and is next: until `end_turn` nobody gets a lease of another
        bundle. Else those whose bundles are in memory could keep them there for ever.

        Only if that helps: not while a lease older than the wait, a long job's, is in the way.
        One at a time. Those who may go on without end see that someone waits (`others_wait`).
        """
        with self._changed:
            if want not in self._patient:
                self._patient.append(want)
            if self._turn is None and self._would_fit(want, since):
                self._turn = want

    def others_wait(self, key: str) -> bool:
        """Whether someone has waited long for another bundle, or for this one to be unloaded."""
        with self._changed:
            own = self._slots.get(key)
            is_leaving = own is not None and own.state == "leaving"
            return is_leaving or any(want.entry.key != key for want in self._patient)

    def end_turn(self, want: Want) -> None:
        with self._changed:
            if want in self._patient:
                self._patient.remove(want)
            if self._turn is want:
                self._turn = None
                self._changed.notify_all()

    def release(self, slot: Slot, reserve_bytes: int) -> None:
        with self._changed:
            slot.leases -= 1
            slot.reserved_bytes -= reserve_bytes
            slot.last_released = self._clock()
            if slot.leases == 0:
                slot.last_free = slot.last_released
            self._changed.notify_all()

    def make_room(self, want: Want, claimed: Claimed) -> tuple[Plan, list[Slot]]:
        """What to do so that the want fits, and what is leaving for it.

        Raises ModelTooLarge if it can never fit.
        """
        with self._changed:
            own = self._slots.get(want.entry.key)
            is_moving = own is not None and own.state != "ready"
            if not self._share.granted or is_moving or self._is_anothers_turn(want):
                return WAIT, []
            residents = [s.resident() for s in self._slots.values() if s is not own]
            needed = want.estimate_bytes + want.reserve_bytes
            if own is not None:
                needed = own.held_bytes + want.reserve_bytes
                # What its running requests reserved counts, but ends with them.
                residents.append(replace(own.resident(), size_bytes=0, leases=1))
            limits = self._limits()
            plan = plan_room(needed, limits, residents, claimed)
            if plan.verdict == "never":
                raise too_large(want, needed, limits.most_bytes)
            return plan, self._leave(self._slots[key] for key in plan.evict)

    def resize(self, key: str, extra_bytes: int, claimed: Claimed) -> tuple[Plan, list[Slot]]:
        """Let a leased bundle take so much beside its weights, or what to do so that it can."""
        with self._changed:
            slot = self._slots.get(key)
            if slot is None:
                return Plan("fits"), []
            added = extra_bytes - slot.extra_bytes
            plan, leaving = Plan("fits"), list[Slot]()
            if added > 0:
                residents = [s.resident() for s in self._slots.values()]
                limits = self._limits()
                plan = plan_room(added, limits, residents, claimed)
                leaving = self._leave(self._slots[key] for key in plan.evict)
            if plan.verdict == "fits" and not leaving:
                slot.extra_bytes = extra_bytes
                if added < 0:
                    self._changed.notify_all()
            return plan, leaving

    def start_loading(self, want: Want) -> Slot | None:
        """A new slot, or None if there is one already. Its working reserve counts from now on."""
        with self._changed:
            if want.entry.key in self._slots:
                return None
            slot = Slot(want.entry, want.estimate_bytes, "loading")
            slot.reserved_bytes = want.reserve_bytes
            self._slots[want.entry.key] = slot
            return slot

    def finish_loading(self, slot: Slot, bundle: Bundle, want: Want) -> bool:
        """The bundle is there. Returns whether `want` has a lease of it.

        It has none if the bundle is larger than estimated and the reserve does not fit now.
        """
        with self._changed:
            slot.bundle, slot.size_bytes, slot.state = bundle, bundle.size_bytes, "ready"
            slot.reserved_bytes = 0
            slot.last_released = self._clock()
            self._changed.notify_all()
            return self.lease(want) is not None

    def forget(self, slot: Slot) -> None:
        with self._changed:
            if self._slots.get(slot.entry.key) is slot:
                del self._slots[slot.entry.key]
            self._changed.notify_all()

    def leave_idle(self, size_bytes: int | None) -> list[Slot]:
        """What to close so that the share has `size_bytes` to give; None: all that is idle."""
        with self._changed:
            residents = [slot.resident() for slot in self._slots.values()]
            wanted = sum(r.size_bytes for r in residents)
            if size_bytes is not None:
                wanted = size_bytes + self._used_bytes() - self._share.share_bytes
            return self._leave(self._slots[r.key] for r in choose_idle(wanted, residents))

    def leave_overdue(self, idle_timeout_s: float) -> list[Slot]:
        with self._changed:
            now = self._clock()
            slots = self._slots.values()
            return self._leave([s for s in slots if s.is_overdue(now, idle_timeout_s)])

    def begin_to_leave(self, key: str, wait_s: float) -> Slot | None:
        """Let nobody lease it any more. None if it is not there.

        Waits so long for a load, or for someone else's unload. Raises ModelBusy after that.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_settled(key), wait_s):
                slot = self._slots[key]
                raise ModelBusy(f"{slot.entry.name} is {slot.state}; try again later")
            leaving = self._slots.get(key)
            if leaving is not None:
                leaving.state = "leaving"
            return leaving

    def wait_for_leases(self, slot: Slot, wait_s: float) -> None:
        """Raises ModelBusy if its leases do not end in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: slot.leases == 0, wait_s):
                raise in_use(slot)

    def stay(self, slot: Slot) -> None:
        """It was to leave; if it did not, it may be leased again."""
        with self._changed:
            if slot.bundle is not None:
                slot.state = "ready"
            self._changed.notify_all()

    def stay_all(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self.stay(slot)

    def is_leaving(self, key: str) -> bool:
        with self._changed:
            slot = self._slots.get(key)
            return slot is not None and slot.state == "leaving"

    def wait(self, timeout_s: float) -> None:
        """Until something changed, or the time is over."""
        with self._changed:
            self._changed.wait(timeout_s)

    def give_up(self, size_bytes: int) -> int:
        """Make the share smaller by what holds nothing. Returns what it gave."""
        with self._changed:
            return self._share.give_up(size_bytes, self._used_bytes())

    def working_bytes(self, key: str, estimate_bytes: int) -> int:
        with self._changed:
            own = self._slots.get(key)
            size_bytes = own.size_bytes if own else estimate_bytes
            pinned = sum(s.held_bytes for s in self._slots.values() if s.pinned and s is not own)
            return max(0, self._share.pool_bytes - size_bytes - pinned)

    def retire(self, keys: Iterable[str]) -> None:
        with self._changed:
            for key in keys:
                if key in self._slots:
                    self._slots[key].retired = True

    def leases_so_far(self) -> int | None:
        """How many leases there were, or None while there are any."""
        with self._changed:
            leased = any(slot.leases for slot in self._slots.values())
            return None if leased else self._leases_so_far

    def stats(self) -> tuple[BundleStats, ...]:
        with self._changed:
            return tuple(slot.stats() for slot in self._slots.values())

    def take_all(self) -> list[Bundle]:
        """Empty the table, leased or not."""
        with self._changed:
            bundles = [self._take(slot) for slot in self._slots.values()]
            self._slots.clear()
            self._changed.notify_all()
            return [bundle for bundle in bundles if bundle is not None]

    def take(self, slot: Slot) -> Bundle | None:
        """Its bundle, for who closes it; None if another took it."""
        with self._changed:
            return self._take(slot)

    def _would_fit(self, want: Want, since: float) -> bool:
        """Whether it fits once every lease that began after `since` has ended."""
        own = self._slots.get(want.entry.key)
        needed = (own.held_bytes if own else want.estimate_bytes) + want.reserve_bytes
        for slot in self._slots.values():
            ends = slot.has_been_free(since)
            if slot is own:
                needed += 0 if ends else slot.reserved_bytes
            elif slot.pinned or slot.state != "ready" or not ends:
                needed += slot.held_bytes + slot.reserved_bytes
        return needed <= self._share.share_bytes

    def _is_anothers_turn(self, want: Want) -> bool:
        return self._turn is not None and self._turn.entry.key != want.entry.key

    def _take(self, slot: Slot) -> Bundle | None:
        bundle, slot.bundle = slot.bundle, None
        return bundle

    def _leave(self, slots: Iterable[Slot]) -> list[Slot]:
        leaving = list(slots)
        for slot in leaving:
            slot.state = "leaving"
        return leaving

    def _is_settled(self, key: str) -> bool:
        slot = self._slots.get(key)
        return slot is None or slot.state == "ready"

    def _used_bytes(self) -> int:
        return sum(s.held_bytes + s.reserved_bytes for s in self._slots.values())

    def _limits(self) -> Limits:
        return Limits(self._share.share_bytes, self._share.pool_bytes, self._share.most_bytes)
