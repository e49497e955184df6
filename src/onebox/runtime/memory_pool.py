"""The gateway's memory pools: whose bytes are whose, so that no two workers count the same ones."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from onebox.core.contracts import Device
from onebox.runtime.wire import Claim, GaveUp, GiveUp, Grant, Hello, ToWorker


@dataclass(slots=True)
class _Asking:
    """A claim on its way: who may still be asked to give up for it, and who was asked last."""

    claim: Claim
    to_ask: list[Hashable]
    waits_for: Hashable | None = None


@dataclass(slots=True)
class _Member:
    """`owes_answer`: it was sent a GiveUp. Until it answers it is sent no Grant, or the two would
    cross on the way and each side would count another share.
    """

    hello: Hello
    send: Callable[[ToWorker], None]
    share_bytes: int = 0
    told_pool_bytes: int = -1
    owes_answer: bool = False


@dataclass(slots=True)
class _Pool:
    """`claims` are those not answered yet, in the order in which they came."""

    name: str
    members: dict[Hashable, _Member] = field(default_factory=dict)
    claims: dict[Hashable, _Asking] = field(default_factory=dict)


class MemoryPools:
    """Hands each worker its share of its device's memory pool. Lives on the gateway's event loop.

    The shares of a pool never come to more than its limit, unless the limit itself has shrunk.

    Every claim is answered by one Grant, whatever it got; a newer claim of the same worker takes
    the place of one that is not answered yet. A claim waits for the answers of those whom it made
    give up something, or for their end, and there is no clock here: who cannot wait claims again,
    and that claim does not wait for those who still owe an answer.

    Args:
        limit: what a device's pool may give now, of what its worker found when it started. Called
            often.
    """

    def __init__(self, limit: Callable[[Device, int], int]) -> None:
        self._limit = limit
        self._pools: dict[str, _Pool] = {}
        self._pool_of: dict[Hashable, _Pool] = {}

    def join(self, member: Hashable, hello: Hello, send: Callable[[ToWorker], None]) -> None:
        """A worker is up: it gets what is free. One of that name that was there before has left.

        `send` must keep the order of the frames, and must not call back into this object.
        """
        self.leave(member)
        pool = self._pools.setdefault(hello.device.pool, _Pool(hello.device.pool))
        pool.members[member] = joined = _Member(hello, send)
        self._pool_of[member] = pool
        joined.share_bytes = self._free(pool)
        self._grant(pool, joined)

    def leave(self, member: Hashable) -> None:
        """It ended: its share is free again. Does nothing if it is not there."""
        pool = self._pool_of.pop(member, None)
        if pool is None:
            return
        del pool.members[member]
        pool.claims.pop(member, None)
        if not pool.members:
            del self._pools[pool.name]
        self._was_answered(pool, member)

    def on_claim(self, member: Hashable, claim: Claim) -> None:
        if (pool := self._pool_of.get(member)) is None:
            return
        others = [name for name in pool.members if name != member]
        others.sort(key=lambda name: pool.members[name].share_bytes, reverse=True)
        pool.claims[member] = _Asking(claim, others)
        self._settle(pool)

    def on_gave_up(self, member: Hashable, gave: GaveUp) -> None:
        if (pool := self._pool_of.get(member)) is None:
            return
        gave_up = pool.members[member]
        gave_up.owes_answer = False
        # Only a Grant makes a share larger.
        gave_up.share_bytes = min(gave_up.share_bytes, gave.share_bytes)
        self._was_answered(pool, member)

    def refresh(self, member: Hashable) -> None:
        """On its heartbeat: follow the limit, which moves with what other programs use.

        Alone in its pool it gets all that is free. If there is too little now, it is asked for
        what it holds nothing in.
        """
        if (pool := self._pool_of.get(member)) is None:
            return
        refreshed = pool.members[member]
        if refreshed.owes_answer or member in pool.claims:
            return
        limit = self._limit_of(pool)
        free = limit - self._given(pool)
        grows = free > 0 and len(pool.members) == 1
        if grows:
            refreshed.share_bytes += free
        if grows or refreshed.told_pool_bytes != limit:
            self._grant(pool, refreshed)
        if free < 0 and refreshed.share_bytes > 0:
            self._ask(refreshed, -free, evict=False)

    def pool_of(self, member: Hashable) -> str | None:
        """The name of its pool, or None if it has not joined."""
        pool = self._pool_of.get(member)
        return pool.name if pool else None

    def share_of(self, member: Hashable) -> int:
        pool = self._pool_of.get(member)
        return pool.members[member].share_bytes if pool else 0

    def limit_bytes(self, pool_name: str) -> int:
        """What the pool may give now, in all; 0 if no worker is in it."""
        pool = self._pools.get(pool_name)
        return self._limit_of(pool) if pool else 0

    def free_bytes(self, pool_name: str) -> int:
        """What no worker of the pool has as its share."""
        pool = self._pools.get(pool_name)
        return self._free(pool) if pool else 0

    def _settle(self, pool: _Pool) -> None:
        """Take every claim as far as it goes now, first come, first served."""
        for name, asking in list(pool.claims.items()):
            if self._has_asked_all(pool, pool.members[name], asking):
                del pool.claims[name]
                self._answer(pool, pool.members[name], asking.claim)

    def _has_asked_all(self, pool: _Pool, claimer: _Member, asking: _Asking) -> bool:
        """Ask the next one, if more is missing. Whether the claim can be answered now."""
        if asking.waits_for is not None:
            return False
        while asking.to_ask and (missing := self._missing(pool, claimer, asking.claim)) > 0:
            name = asking.to_ask.pop(0)
            other = pool.members.get(name)
            if other is not None and other.share_bytes > 0 and not other.owes_answer:
                asking.waits_for = name
                self._ask(other, missing, asking.claim.evict)
                return False
        return not claimer.owes_answer

    def _answer(self, pool: _Pool, claimer: _Member, claim: Claim) -> None:
        wanted = max(0, claim.share_bytes - claimer.share_bytes)
        claimer.share_bytes += min(wanted, self._free(pool))
        self._grant(pool, claimer)

    def _was_answered(self, pool: _Pool, member: Hashable) -> None:
        for asking in pool.claims.values():
            if asking.waits_for == member:
                asking.waits_for = None
        self._settle(pool)

    def _missing(self, pool: _Pool, claimer: _Member, claim: Claim) -> int:
        wanted = min(claim.share_bytes, self._limit_of(pool))
        return wanted - claimer.share_bytes - self._free(pool)

    def _ask(self, member: _Member, size_bytes: int, evict: bool) -> None:
        member.owes_answer = True
        member.send(GiveUp(size_bytes, evict))

    def _grant(self, pool: _Pool, member: _Member) -> None:
        member.told_pool_bytes = self._limit_of(pool)
        member.send(Grant(member.share_bytes, member.told_pool_bytes))

    def _limit_of(self, pool: _Pool) -> int:
        """Each worker measured the pool when it started; who came later saw less of it free."""
        limits = [self._limit(m.hello.device, m.hello.budget_bytes) for m in pool.members.values()]
        return max([0, *limits])

    def _given(self, pool: _Pool) -> int:
        return sum(member.share_bytes for member in pool.members.values())

    def _free(self, pool: _Pool) -> int:
        return max(0, self._limit_of(pool) - self._given(pool))
