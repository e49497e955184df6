"""Workers that join, claim, give up and leave at random, with frames that arrive late."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import Claim, GaveUp, GiveUp, Grant, Hello, ToWorker
from tests.unit.runtime.fakes import CPU

POOL = 100
HELLO = Hello(1, CPU, (CPU,), POOL, 1)


@dataclass
class Far:
    """A worker at the end of two pipes: frames arrive late, but in order."""

    inbox: deque[ToWorker] = field(default_factory=deque)
    outbox: deque[Claim | GaveUp] = field(default_factory=deque)
    share: int = 0
    used: int = 0
    claims: int = 0
    asked: GiveUp | None = None

    def take(self) -> None:
        match self.inbox.popleft():
            case Grant() as grant:
                self.share = grant.share_bytes
                self.claims = 0
            case GiveUp() as asked:
                assert self.asked is None
                self.asked = asked

    def answer(self) -> None:
        assert self.asked is not None
        self.share -= max(0, min(self.asked.size_bytes, self.share - self.used))
        self.asked = None
        self.outbox.append(GaveUp(self.share))


class Storm:
    """Everything that may happen, in any order that the pipes allow."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.pools = MemoryPools(lambda device, nominal: nominal)
        self.workers: dict[str, Far] = {}

    def step(self) -> None:
        name = self.dice.choice("abcd")
        worker = self.workers.get(name)
        if worker is None:
            self.workers[name] = joined = Far()
            self.pools.join(name, HELLO, joined.inbox.append)
            return
        acts = [lambda: self.pools.refresh(name)]
        acts += [lambda: self.claim(worker)] * 2
        acts += [lambda: self.use(worker)] * 2
        acts += [worker.take] * 6 if worker.inbox else []
        acts += [lambda: self.deliver(name, worker)] * 6 if worker.outbox else []
        acts += [worker.answer] * 3 if worker.asked else []
        if self.dice.random() < 0.02:
            acts = [lambda: self.leave(name)]
        self.dice.choice(acts)()

    def claim(self, worker: Far) -> None:
        worker.claims += 1
        worker.outbox.append(Claim(self.dice.randint(0, POOL + 10), self.dice.random() < 0.5))

    def use(self, worker: Far) -> None:
        worker.used = self.dice.randint(0, worker.share)

    def deliver(self, name: str, worker: Far) -> None:
        match worker.outbox.popleft():
            case Claim() as claim:
                self.pools.on_claim(name, claim)
            case GaveUp() as gave:
                self.pools.on_gave_up(name, gave)

    def leave(self, name: str) -> None:
        self.pools.leave(name)
        del self.workers[name]

    def check(self) -> None:
        assert sum(self.pools.share_of(name) for name in self.workers) <= POOL
        assert sum(worker.share for worker in self.workers.values()) <= POOL

    def settle(self) -> None:
        while any(w.inbox or w.outbox or w.asked for w in self.workers.values()):
            for name, worker in self.workers.items():
                if worker.inbox:
                    worker.take()
                if worker.asked:
                    worker.answer()
                if worker.outbox:
                    self.deliver(name, worker)
                self.check()


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_the_limit_holds_and_every_claim_is_answered(seed):
    storm = Storm(seed)
    for _ in range(400):
        storm.step()
        storm.check()
    storm.settle()
    for name, worker in storm.workers.items():
        assert worker.claims == 0
        assert worker.share == storm.pools.share_of(name)
