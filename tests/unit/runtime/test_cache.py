from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from onebox.core.errors import (
    Cancelled,
    ModelTooLarge,
    OutOfMemory,
)
from tests.unit.runtime.fakes import (
    BUDGET,
    Clock,
    Weights,
    create_cache,
    create_share,
    entry,
    want,
)

BOUND_S = 60
A, B, C = entry("a"), entry("b"), entry("c")


@pytest.fixture
def weights():
    return Weights()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def cache(weights, clock):
    return create_cache(weights, clock)


def use(cache, item, **options):
    with cache.lease(want(item, **options)) as bundle:
        assert not bundle.closed


def left():
    raise Cancelled("the client left")


def resident(cache):
    return sorted(bundle.name for bundle in cache.stats())


def test_a_second_lease_finds_the_weights_loaded(cache, weights):
    with cache.lease(want(A)) as first, cache.lease(want(A)) as second:
        assert first is second
        assert [bundle.leases for bundle in cache.stats()] == [2]
    assert weights.names() == ["a"]
    assert [bundle.leases for bundle in cache.stats()] == [0]


def test_many_who_want_it_at_once_share_one_load(cache, weights):
    all_here = threading.Barrier(8)

    def lease():
        all_here.wait(BOUND_S)
        with cache.lease(want(A)) as bundle:
            return bundle

    with ThreadPoolExecutor(8) as pool:
        bundles = [task.result(BOUND_S) for task in [pool.submit(lease) for _ in range(8)]]
    assert weights.names() == ["a"]
    assert all(bundle is bundles[0] for bundle in bundles)


def test_the_idle_one_released_longest_ago_makes_room(cache, weights, clock):
    for clock.now, item in [(1, A), (2, B), (3, A)]:
        use(cache, item)
    use(cache, C)
    assert resident(cache) == ["a", "c"]
    assert [bundle.closed for bundle in weights.loaded] == [False, True, False]


def test_a_lease_protects_from_eviction(cache, clock):
    with cache.lease(want(A)):
        clock.now = 5
        use(cache, B)
        use(cache, C)
        assert resident(cache) == ["a", "c"]


def test_pinned_weights_are_never_evicted(cache, clock):
    use(cache, entry("pinned", pin=True))
    clock.now = 9
    use(cache, A)
    use(cache, B)
    assert resident(cache) == ["b", "pinned"]


def test_the_measured_size_replaces_the_estimate(cache, weights):
    weights.sizes["a"] = 70
    use(cache, A, estimate=10)
    assert [bundle.size_bytes for bundle in cache.stats()] == [70]
    use(cache, B)
    assert resident(cache) == ["b"]


def test_what_can_never_fit_is_refused_at_once_with_both_numbers(cache, weights):
    with pytest.raises(ModelTooLarge, match="ONEBOX_MEMORY_BUDGET") as caught:
        use(cache, A, estimate=90, reserve=11)
    assert caught.value.details == {"needed_bytes": 101, "budget_bytes": BUDGET}
    assert weights.names() == []


def test_working_memory_evicts_idle_weights(cache, clock):
    use(cache, A)
    clock.now = 1
    use(cache, B)
    use(cache, B, reserve=60)
    assert resident(cache) == ["b"]


def test_waiting_for_memory_ends_in_a_clean_refusal(cache, clock):
    def time_passes():
        clock.now += 4

    with cache.lease(want(A)), cache.lease(want(B)):
        with pytest.raises(OutOfMemory, match="running requests") as caught:
            use(cache, C, check=time_passes)
        assert resident(cache) == ["a", "b"]
    assert caught.value.retry_after_s is None
    assert clock.now == 12


def test_who_waits_for_memory_gets_it_when_a_lease_ends(cache):
    asked = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with cache.lease(want(A)), cache.lease(want(B)):
            waiting = pool.submit(use, cache, C, check=asked.set)
            assert asked.wait(BOUND_S)
        waiting.result(BOUND_S)
    assert "c" in resident(cache)


def test_a_client_that_left_stops_waiting(cache):
    with cache.lease(want(A)), cache.lease(want(B)), pytest.raises(Cancelled):
        use(cache, C, check=left)
    use(cache, C)


def test_a_client_that_left_stops_waiting_for_another_ones_load(cache, weights):
    loading, go_on = threading.Event(), threading.Event()

    def slow(name):
        loading.set()
        assert go_on.wait(BOUND_S)

    weights.before = slow
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(use, cache, A)
        assert loading.wait(BOUND_S)
        with pytest.raises(Cancelled):
            use(cache, B, check=left)
        go_on.set()
        first.result(BOUND_S)
    assert weights.names() == ["a"]


@pytest.mark.parametrize(
    ("overrides", "now", "stays"),
    [
        ({}, 159, True),
        ({}, 160, False),
        ({"pin": True}, 9999, True),
        ({"idle_timeout": 5}, 105, False),
        ({"idle_timeout": 0}, 9999, True),
    ],
)
def test_idle_time_counts_from_the_last_release(cache, weights, clock, overrides, now, stays):
    with cache.lease(want(entry("a", **overrides))):
        clock.now = 100
    clock.now = now
    cache.unload_idle()
    assert resident(cache) == (["a"] if stays else [])
    assert weights.loaded[0].closed is not stays


def test_a_bundle_in_use_is_not_idle_however_long_it_takes(cache, clock):
    with cache.lease(want(A)):
        clock.now = 9999
        cache.unload_idle()
        assert resident(cache) == ["a"]


def test_without_an_idle_timeout_nothing_is_unloaded(weights, clock):
    cache = create_cache(weights, clock, idle_timeout_s=0)
    use(cache, A)
    clock.now = 1e9
    cache.unload_idle()
    assert resident(cache) == ["a"]


def test_closing_drops_everything(cache, weights):
    use(cache, A)
    use(cache, B)
    cache.close()
    assert resident(cache) == []
    assert all(bundle.closed for bundle in weights.loaded)


def test_stats_tell_the_state_of_each(cache, weights):
    seen = []
    weights.before = lambda name: seen.extend(cache.stats())
    with cache.lease(want(entry("p", pin=True), estimate=30, reserve=7)):
        (ready,) = cache.stats()
    assert [(b.state, b.size_bytes, b.reserved_bytes, b.leases) for b in [*seen, ready]] == [
        ("loading", 30, 7, 0),
        ("ready", 40, 7, 1),
    ]
    assert (ready.key, ready.family, ready.pinned) == ("p", "fake", True)
    assert [b.reserved_bytes for b in cache.stats()] == [0]


def test_a_reserve_that_waits_for_its_own_bundles_requests_is_not_too_large(cache, clock):
    def time_passes():
        clock.now += 20

    with cache.lease(want(A, reserve=50)), pytest.raises(OutOfMemory):
        use(cache, A, reserve=20, check=time_passes)
    with cache.lease(want(A)), pytest.raises(ModelTooLarge):
        use(cache, A, reserve=61)


def test_lease_now_never_loads_evicts_or_waits(cache, weights):
    assert cache.lease_now(want(A)) is None
    use(cache, A)
    use(cache, B)
    assert cache.lease_now(want(A, reserve=21)) is None
    with cache.lease_now(want(A, reserve=20)) as bundle:
        assert bundle is weights.loaded[0]
        assert cache.lease_now(want(B, reserve=1)) is None
        assert [b.leases for b in cache.stats()] == [1, 0]
    assert [(b.leases, b.reserved_bytes) for b in cache.stats()] == [(0, 0), (0, 0)]


def test_a_batch_may_take_what_neither_its_bundle_nor_pinned_ones_hold(weights, clock):
    cache = create_cache(weights, clock, create_share(60, 100))
    assert cache.working_bytes("a", 30) == 70
    use(cache, A)
    assert cache.working_bytes("a", 30) == 60
    assert cache.working_bytes("b", 30) == 70
    weights.sizes["pinned"] = 20
    use(cache, entry("pinned", pin=True), estimate=20)
    assert cache.working_bytes("a", 30) == 40
    assert cache.working_bytes("b", 90) == 0


def test_evicting_what_is_idle_leaves_the_rest(cache, weights):
    weights.sizes = {"a": 10, "b": 10, "pinned": 10}
    use(cache, A, estimate=10)
    use(cache, entry("pinned", pin=True), estimate=10)
    with cache.lease(want(B, estimate=10)):
        cache.evict_idle()
        assert resident(cache) == ["b", "pinned"]
    assert weights.loaded[0].closed


def test_a_bundle_that_cannot_be_closed_is_gone_all_the_same(cache, weights):
    use(cache, A)
    weights.loaded[0].closed = True  # its close fails now
    cache.unload("a", 0)
    assert resident(cache) == []
