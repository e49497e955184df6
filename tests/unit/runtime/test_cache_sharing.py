"""Two workers' caches on one pool, and one cache whose share is too small."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from onebox.core.errors import ModelTooLarge, OutOfMemory
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.share import Share
from onebox.runtime.wire import Claim, GaveUp, GiveUp, Grant, Hello
from tests.unit.runtime.fakes import (
    BUDGET,
    CPU,
    Clock,
    Weights,
    create_cache,
    create_share,
    entry,
    want,
)

BOUND_S = 60
A, B, C, D = entry("a"), entry("b"), entry("c"), entry("d")


def use(cache, item, **options):
    with cache.lease(want(item, **options)) as bundle:
        assert not bundle.closed


def resident(cache):
    return sorted(bundle.name for bundle in cache.stats())


class Gateway:
    """Notes what is claimed and grants what the test says, at once."""

    def __init__(self, *grants: int) -> None:
        self.grants = list(grants)
        self.claims: list[Claim] = []
        self.share = Share(self.take, wait_s=0)

    def take(self, claim: Claim) -> None:
        self.claims.append(claim)
        if self.grants:
            self.share.on_grant(Grant(self.grants.pop(0), BUDGET))


def create(share_bytes, *grants):
    gateway = Gateway(*grants)
    gateway.share.on_grant(Grant(share_bytes, BUDGET))
    weights, clock = Weights(), Clock()
    return create_cache(weights, clock, gateway.share), gateway, clock


def test_nothing_is_claimed_while_the_share_is_large_enough():
    cache, gateway, _ = create(50)
    use(cache, A)
    use(cache, A, reserve=10)
    assert gateway.claims == []


def test_what_others_do_not_use_is_claimed_before_anything_is_evicted():
    cache, gateway, _ = create(50, 80)
    use(cache, A)
    use(cache, B)
    assert gateway.claims == [Claim(80, False)]
    assert resident(cache) == ["a", "b"]


def test_its_own_idle_bundles_go_before_those_of_others():
    cache, gateway, _ = create(50, 50)
    use(cache, A)
    use(cache, B)
    assert gateway.claims == [Claim(80, False)]
    assert resident(cache) == ["b"]


def test_last_the_idle_bundles_of_others_go():
    cache, gateway, _ = create(50, 50, 80)
    with cache.lease(want(A)):
        use(cache, B)
        assert gateway.claims == [Claim(80, False), Claim(80, True)]
        assert resident(cache) == ["a", "b"]


def test_who_waits_claims_again_now_and_then():
    cache, gateway, clock = create(50, 50, 50)

    def time_passes():
        clock.now += 0.6

    with cache.lease(want(A)), pytest.raises(OutOfMemory):
        use(cache, B, check=time_passes)
    assert 4 <= len(gateway.claims) <= 20
    assert gateway.claims[:3] == [Claim(80, False), Claim(80, True), Claim(80, False)]
    assert not gateway.share.keeps


def test_what_can_never_fit_is_judged_by_the_pool_not_the_share():
    cache, gateway, _ = create(50)
    with pytest.raises(ModelTooLarge) as caught:
        use(cache, A, estimate=101)
    assert caught.value.details == {"needed_bytes": 101, "budget_bytes": BUDGET}
    assert gateway.claims == []


def test_before_the_first_grant_everyone_waits():
    share, asked = Share(lambda claim: None), threading.Event()
    cache = create_cache(Weights(), Clock(), share)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(use, cache, A, check=asked.set)
        assert asked.wait(BOUND_S)
        assert resident(cache) == []
        share.on_grant(Grant(BUDGET, BUDGET))
        waiting.result(BOUND_S)
    assert resident(cache) == ["a"]


@pytest.mark.parametrize(
    ("size", "evict", "share", "left"),
    [
        (10, False, 90, ["a", "b"]),
        (30, False, 80, ["a", "b"]),
        (10, True, 90, ["a", "b"]),
        (30, True, 70, ["b"]),
        (60, True, 40, ["b"]),
        (61, True, 39, []),
        (500, True, 0, []),
    ],
)
def test_giving_up_evicts_only_if_told_and_only_what_is_needed(size, evict, share, left):
    clock, pool_share = Clock(), create_share()
    cache = create_cache(Weights(), clock, pool_share)
    for clock.now, item in [(1, A), (2, B)]:
        use(cache, item)
    assert cache.give_up(size, evict) == share
    assert (resident(cache), pool_share.share_bytes) == (left, share)


def test_what_is_leased_pinned_or_reserved_is_not_given_up():
    weights = Weights({"pinned": 10})
    cache = create_cache(weights, Clock())
    use(cache, entry("pinned", pin=True), estimate=10)
    with cache.lease(want(A, reserve=15)):
        assert cache.give_up(500, True) == 65
    assert cache.give_up(500, False) == 50


def test_during_a_load_only_what_holds_nothing_is_given_up():
    weights, loading, go_on = Weights(), threading.Event(), threading.Event()
    cache = create_cache(weights, Clock(), evict_wait_s=0.0)
    use(cache, A)

    def slow(name):
        loading.set()
        assert go_on.wait(BOUND_S)

    weights.before = slow
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(use, cache, B)
        assert loading.wait(BOUND_S)
        assert cache.give_up(50, True) == 80
        go_on.set()
        load.result(BOUND_S)
    assert resident(cache) == ["a", "b"]


class Ticking(Clock):
    """Goes on with every reading, so that who waits claims again each time."""

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Pair:
    """Two workers of one pool and their gateway, each with threads as they have in earnest."""

    def __init__(self) -> None:
        self.pools = MemoryPools(lambda device, nominal: nominal)
        self.loop: queue.Queue = queue.Queue()
        self.caches = {}
        self.threads = [threading.Thread(target=self.gateway)]
        for name in "xy":
            inbox: queue.Queue = queue.Queue()
            share = Share(lambda claim, name=name: self.loop.put((name, claim)))
            self.caches[name] = create_cache(
                Weights(), Ticking(), share, lease_timeout_s=1e5, idle_timeout_s=0
            )
            hello = Hello(1, msgspec.structs.replace(CPU, pool="p"), (CPU,), BUDGET, 1)
            self.pools.join(name, hello, inbox.put)
            self.threads.append(threading.Thread(target=self.worker, args=[name, share, inbox]))
            self.loop.put((name, inbox))
        for thread in self.threads:
            thread.start()

    def gateway(self) -> None:
        inboxes = []
        while (item := self.loop.get()) is not None:
            match item:
                case (name, Claim() as claim):
                    self.pools.on_claim(name, claim)
                case (name, GaveUp() as gave):
                    self.pools.on_gave_up(name, gave)
                case (_, inbox):
                    inboxes.append(inbox)
        for inbox in inboxes:
            inbox.put(None)

    def worker(self, name: str, share: Share, inbox: queue.Queue) -> None:
        answers = ThreadPoolExecutor(1)
        while (frame := inbox.get()) is not None:
            if isinstance(frame, Grant):
                share.on_grant(frame)
            else:
                answers.submit(self.give_up, name, frame)
        answers.shutdown()

    def give_up(self, name: str, frame: GiveUp) -> None:
        share_bytes = self.caches[name].give_up(frame.size_bytes, frame.evict)
        self.loop.put((name, GaveUp(share_bytes)))

    def close(self) -> None:
        self.loop.put(None)
        for thread in self.threads:
            thread.join(BOUND_S)


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


def test_the_second_worker_gets_what_the_first_does_not_use(pair):
    x, y = pair.caches.values()
    use(x, A)
    use(y, B)
    assert (resident(x), resident(y)) == (["a"], ["b"])


def test_the_second_worker_makes_the_first_evict_what_is_idle(pair):
    x, y = pair.caches.values()
    use(x, A)
    use(x, B)
    use(y, C)
    assert resident(y) == ["c"]
    assert len(resident(x)) == 1
    use(y, D, reserve=60)
    assert (resident(x), resident(y)) == ([], ["d"])


def test_workers_that_take_from_each_other_all_the_time_go_on(pair):
    """Each model needs more than half of the pool, so every lease takes from the other worker."""

    def keep_using(cache, item):
        for _ in range(10):
            use(cache, item, reserve=20)

    with ThreadPoolExecutor(2) as pool:
        tasks = [
            pool.submit(keep_using, cache, item)
            for cache, item in zip(pair.caches.values(), [A, B], strict=True)
        ]
        for task in tasks:
            task.result(60)
    used = [sum(bundle.size_bytes for bundle in cache.stats()) for cache in pair.caches.values()]
    assert sum(used) <= BUDGET
