"""Which bundles must go so that another fits. Pure arithmetic over bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Resident:
    """One bundle that is in memory, as the plan sees it."""

    key: str
    size_bytes: int
    reserved_bytes: int
    leases: int
    pinned: bool
    last_released: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do:

    `fits` after evicting `evict` in order, `wait` for leases to end, or `never` fits.
    """

    verdict: Literal["fits", "wait", "never"]
    evict: tuple[str, ...] = ()


def plan_room(needed_bytes: int, budget_bytes: int, residents: Sequence[Resident]) -> Plan:
    """Make room for `needed_bytes` (weights and working reserve together).

    Evicts idle, unpinned bundles, least recently released first, and no more than are needed.
    "never" means that it would not fit even with everything evictable gone and nothing leased.
    """
    pinned_bytes = sum(r.size_bytes for r in residents if r.pinned)
    if needed_bytes + pinned_bytes > budget_bytes:
        return Plan("never")
    free = budget_bytes - sum(r.size_bytes + r.reserved_bytes for r in residents)
    evict: list[str] = []
    idle = (r for r in residents if r.leases == 0 and not r.pinned)
    for resident in sorted(idle, key=lambda r: r.last_released):
        if free >= needed_bytes:
            break
        free += resident.size_bytes
        evict.append(resident.key)
    return Plan("fits", tuple(evict)) if free >= needed_bytes else Plan("wait")
