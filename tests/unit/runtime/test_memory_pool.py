from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec
import pytest

from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import Claim, GaveUp, GiveUp, Grant, Hello, ToWorker
from tests.unit.runtime.fakes import CPU

POOL = 100


def hello(pool: str = "host", budget: int = POOL) -> Hello:
    return Hello(1, msgspec.structs.replace(CPU, pool=pool), (CPU,), budget, 1)


@dataclass
class Bench:
    """A pool whose workers answer when the test says so."""

    limit: int = POOL
    sent: dict[str, list[ToWorker]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.pools = MemoryPools(lambda device, nominal: min(nominal, self.limit))

    def join(self, *names: str) -> None:
        for name in names:
            self.sent[name] = []
            self.pools.join(name, hello(), self.sent[name].append)

    def told(self, name: str) -> list[ToWorker]:
        told, self.sent[name][:] = list(self.sent[name]), []
        return told

    def claim(self, name: str, share: int, evict: bool = False) -> None:
        self.pools.on_claim(name, Claim(share, evict))

    def gave(self, name: str, share: int) -> None:
        self.pools.on_gave_up(name, GaveUp(share))

    def shares(self) -> dict[str, int]:
        return {name: self.pools.share_of(name) for name in self.sent}


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def pair(bench):
    bench.join("a", "b")
    bench.told("a"), bench.told("b")
    return bench


def test_the_first_gets_all_and_the_next_what_is_free(bench):
    bench.join("a", "b")
    assert bench.told("a") == [Grant(100, 100)]
    assert bench.told("b") == [Grant(0, 100)]
    assert (bench.pools.free_bytes("host"), bench.pools.limit_bytes("host")) == (0, 100)


def test_pools_do_not_mix(bench):
    bench.join("a")
    bench.pools.join("card", hello("cuda:0", 70), lambda frame: None)
    assert (bench.pools.share_of("card"), bench.pools.pool_of("card")) == (70, "cuda:0")
    assert (bench.pools.share_of("nobody"), bench.pools.pool_of("nobody")) == (0, None)
    assert (bench.pools.free_bytes("none"), bench.pools.limit_bytes("none")) == (0, 0)


@pytest.mark.parametrize("evict", [False, True])
def test_a_claim_is_met_by_what_another_gives_up(pair, evict):
    pair.claim("b", 40, evict)
    assert (pair.told("a"), pair.told("b")) == ([GiveUp(40, evict)], [])
    pair.gave("a", 60)
    assert (pair.told("a"), pair.told("b")) == ([], [Grant(40, 100)])
    assert pair.shares() == {"a": 60, "b": 40}


def test_a_claim_that_gets_nothing_is_answered_all_the_same(pair):
    pair.claim("b", 40)
    pair.gave("a", 100)
    assert pair.told("b") == [Grant(0, 100)]


def test_giving_up_makes_no_share_larger(pair):
    pair.claim("b", 40)
    pair.gave("a", 140)
    assert pair.shares() == {"a": 100, "b": 0}


def test_what_is_free_is_given_before_anybody_is_asked(pair):
    pair.pools.leave("a")
    pair.claim("b", 40)
    assert pair.told("b") == [Grant(40, 100)]
    pair.join("c")
    assert pair.told("c") == [Grant(60, 100)]


def test_no_more_are_asked_than_are_needed(bench):
    bench.join("a", "b", "c")
    bench.claim("b", 30)
    bench.gave("a", 70)
    for name in "abc":
        bench.told(name)
    bench.claim("c", 50, evict=True)
    assert (bench.told("a"), bench.told("b")) == ([GiveUp(50, True)], [])
    bench.gave("a", 40)
    assert (bench.told("b"), bench.told("c")) == ([GiveUp(20, True)], [])
    bench.gave("b", 10)
    assert bench.told("c") == [Grant(50, 100)]


def test_one_that_leaves_answers_by_leaving(pair):
    pair.claim("b", 40)
    pair.pools.leave("a")
    assert pair.told("b") == [Grant(40, 100)]
    pair.pools.leave("a")
    pair.pools.on_gave_up("a", GaveUp(1))
    assert pair.pools.free_bytes("host") == 60


def test_a_claimer_that_leaves_is_not_answered(pair):
    pair.claim("b", 40)
    pair.pools.leave("b")
    pair.gave("a", 60)
    assert pair.told("b") == []
    assert pair.pools.free_bytes("host") == 40


def test_who_claims_again_does_not_wait_for_the_silent_one(pair):
    pair.claim("b", 40)
    pair.claim("b", 30)
    assert (pair.told("a"), pair.told("b")) == ([GiveUp(40, False)], [Grant(0, 100)])
    pair.gave("a", 60)
    assert pair.told("b") == []
    pair.claim("b", 30)
    assert pair.told("b") == [Grant(30, 100)]


def test_two_that_claim_from_each_other_are_both_answered(pair):
    pair.claim("b", 50)
    pair.gave("a", 50)
    pair.told("a"), pair.told("b")
    pair.claim("a", 80)
    pair.claim("b", 80)
    assert (pair.told("a"), pair.told("b")) == ([GiveUp(30, False)], [GiveUp(30, False)])
    pair.gave("b", 20)
    # Not before its own answer, which would count a share without the Grant.
    assert pair.told("a") == []
    pair.gave("a", 20)
    assert (pair.told("a"), pair.told("b")) == ([Grant(80, 100)], [Grant(20, 100)])


def test_a_worker_that_is_back_starts_anew(pair):
    pair.claim("b", 40)
    pair.join("a")
    assert (pair.told("b"), pair.told("a")) == ([Grant(40, 100)], [Grant(60, 100)])


def test_alone_it_follows_the_limit(bench):
    bench.limit = 60
    bench.join("a")
    bench.limit = 90
    bench.pools.refresh("a")
    bench.pools.refresh("a")
    assert bench.told("a") == [Grant(60, 60), Grant(90, 90)]
    bench.limit = 70
    bench.pools.refresh("a")
    bench.pools.refresh("a")
    assert bench.told("a") == [Grant(90, 70), GiveUp(20, False)]
    bench.gave("a", 75)
    bench.pools.refresh("a")
    assert bench.told("a") == [GiveUp(5, False)]
    assert bench.pools.free_bytes("host") == 0


def test_with_others_in_the_pool_nobody_grows_unasked(pair):
    pair.claim("b", 40)
    pair.gave("a", 20)
    pair.told("b")
    pair.pools.refresh("b")
    assert (pair.told("b"), pair.shares()) == ([], {"a": 20, "b": 40})


def test_one_that_is_left_alone_gets_the_rest_with_its_heartbeat(pair):
    pair.pools.leave("a")
    pair.pools.refresh("b")
    assert pair.told("b") == [Grant(100, 100)]


def test_every_claim_is_answered_once():
    bench = Bench()
    bench.join("a", "b", "c")
    for name in "abc":
        bench.told(name)
    dice = random.Random(3)
    for _ in range(200):
        name = dice.choice("abc")
        bench.claim(name, dice.randint(0, POOL))
        answers = []
        for other in "abc" * 3:
            for frame in bench.told(other):
                if isinstance(frame, GiveUp):
                    bench.gave(other, dice.randint(0, bench.pools.share_of(other)))
                else:
                    answers.append(other)
        assert answers == [name]
