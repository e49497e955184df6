"""Which bundles must go so that another fits, and what to claim. Pure arithmetic over bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

# What was asked of the pool's other workers so far: what holds nothing, or also idle bundles.
Claimed = Literal["nothing", "slack", "idle"]


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
class Limits:
    """What a worker has: its share, the pool now, and the most that the pool can ever be."""

    share_bytes: int
    pool_bytes: int
    most_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do:

    `fits` after evicting `evict` in order, `claim` a share of `claim_bytes` and plan again, `wait`
    for leases to end, or `never` fits.
    """

    verdict: Literal["fits", "claim", "wait", "never"]
    evict: tuple[str, ...] = ()
    claim_bytes: int = 0


WAIT = Plan("wait")


def plan_room(
    needed_bytes: int, limits: Limits, residents: Sequence[Resident], claimed: Claimed
) -> Plan:
    """Make room for `needed_bytes` (weights and working reserve together).

    In this order: the share as it is; what the pool's other workers do not use; this worker's
    idle, unpinned bundles, least recently released first, and no more than are needed; the idle
    bundles of others; waiting. "never" means that it would not fit even with everything evictable
    gone and nothing leased.
    """
    pinned_bytes = sum(r.size_bytes for r in residents if r.pinned)
    if needed_bytes + pinned_bytes > limits.most_bytes:
        return Plan("never")
    used = sum(r.size_bytes + r.reserved_bytes for r in residents)
    if used + needed_bytes <= limits.share_bytes:
        return Plan("fits")
    may_grow = limits.share_bytes < limits.pool_bytes
    if may_grow and claimed == "nothing":
        return Plan("claim", claim_bytes=min(used + needed_bytes, limits.pool_bytes))
    missing = used + needed_bytes - limits.share_bytes
    evict = choose_idle(missing, residents)
    if sum(r.size_bytes for r in evict) >= missing:
        return Plan("fits", tuple(r.key for r in evict))
    held = used - sum(r.size_bytes for r in residents if is_idle(r))
    if may_grow and claimed != "idle" and held + needed_bytes <= limits.pool_bytes:
        return Plan("claim", claim_bytes=held + needed_bytes)
    return WAIT


def is_idle(resident: Resident) -> bool:
    """Whether it may be evicted."""
    return resident.leases == 0 and not resident.pinned


def choose_idle(size_bytes: int, residents: Sequence[Resident]) -> list[Resident]:
    """Idle bundles of at least `size_bytes`, or all, least recently released first."""
    chosen: list[Resident] = []
    for resident in sorted(filter(is_idle, residents), key=lambda r: r.last_released):
        if sum(r.size_bytes for r in chosen) >= size_bytes:
            break
        chosen.append(resident)
    return chosen
