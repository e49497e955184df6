from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from onebox.core.errors import ModelBusy
from tests.support.server import wait_for
from tests.unit.runtime.fakes import LEAK_LIMIT, Clock, Weights, create_cache, entry, want

BOUND_S = 60
A, B = entry("a"), entry("b")


@pytest.fixture
def weights():
    return Weights()


@pytest.fixture
def cache(weights):
    return create_cache(weights, Clock())


def use(cache, item, **options):
    with cache.lease(want(item, **options)) as bundle:
        assert not bundle.closed


def states(cache):
    return {bundle.name: bundle.state for bundle in cache.stats()}


def leak(cache, weights, leaked):
    """Unload a bundle that keeps some of its memory."""

    def keep():
        weights.leaked += leaked * weights.loaded[-1].closed

    use(cache, A)
    weights.on_free = keep
    cache.unload("a", 0)
    weights.on_free = lambda: None


def test_unload_of_what_stays_in_use_says_how_often_it_is(cache, weights):
    with cache.lease(want(A)):
        with pytest.raises(ModelBusy, match="1 request") as caught:
            cache.unload("a", 0)
        assert caught.value.details == {"leases": 1}
        use(cache, A)
    cache.unload("a", 0)
    cache.unload("a", 0)
    assert (states(cache), weights.loaded[0].closed) == ({}, True)


def test_an_unload_that_waits_lets_no_new_lease_begin(cache, weights):
    """Else a stream of requests, each begun before the last one ended, would keep it for ever."""
    waits, asked = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:
        with cache.lease(want(A)):
            unload = pool.submit(cache.unload, "a", BOUND_S, waits.set)
            assert waits.wait(BOUND_S)
            assert states(cache) == {"a": "leaving"}
            assert cache.lease_now(want(A)) is None
            next_one = pool.submit(use, cache, A, check=asked.set)
            assert asked.wait(BOUND_S)
        unload.result(BOUND_S)
        next_one.result(BOUND_S)
    assert [bundle.closed for bundle in weights.loaded] == [True, False]
    assert states(cache) == {"a": "ready"}


def test_who_uses_what_is_to_be_unloaded_is_told(cache, weights):
    with ThreadPoolExecutor() as pool:
        with cache.lease(want(A)):
            assert not cache.others_wait("a")
            unloading = pool.submit(cache.unload, "a", BOUND_S)
            wait_for(lambda: cache.others_wait("a"))
            assert not cache.others_wait("b")
        unloading.result(BOUND_S)
    assert not cache.others_wait("a")


def test_who_waits_for_an_unload_is_not_out_of_time_before_it_ends(weights):
    clock = Clock()
    cache = create_cache(weights, clock, lease_timeout_s=1)
    waits, late = threading.Event(), threading.Event()

    def time_passes():
        clock.now += 5
        late.set()

    with ThreadPoolExecutor(2) as pool:
        with cache.lease(want(A)):
            unload = pool.submit(cache.unload, "a", BOUND_S, waits.set)
            assert waits.wait(BOUND_S)
            next_one = pool.submit(use, cache, A, check=time_passes)
            assert late.wait(BOUND_S)
            late.clear()
            assert late.wait(BOUND_S)
        unload.result(BOUND_S)
        next_one.result(BOUND_S)
    assert weights.names() == ["a", "a"]


def test_who_waited_for_an_unload_that_gave_up_gets_the_same_bundle(cache, weights):
    asked, waiting = threading.Event(), []
    with ThreadPoolExecutor(1) as pool, cache.lease(want(A)):

        def someone_asks():
            waiting.append(pool.submit(use, cache, A, check=asked.set))
            assert asked.wait(BOUND_S)

        with pytest.raises(ModelBusy):
            cache.unload("a", 0, someone_asks)
        waiting[0].result(BOUND_S)
    assert weights.names() == ["a"]


def test_cancelling_the_requests_of_a_busy_bundle_lets_it_go(cache, weights):
    held, cancelled = threading.Event(), threading.Event()

    def run():
        with cache.lease(want(A)):
            held.set()
            assert cancelled.wait(BOUND_S)

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        assert held.wait(BOUND_S)
        cache.unload("a", BOUND_S, cancelled.set)
        running.result(BOUND_S)
    assert states(cache) == {}


def test_nobody_is_cancelled_for_an_idle_bundle(cache):
    def cancel():
        raise AssertionError

    use(cache, A)
    cache.unload("a", 0, cancel)
    assert states(cache) == {}


def test_two_unloads_at_once_are_both_done(cache, weights):
    waits = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        with cache.lease(want(A)):
            first = pool.submit(cache.unload, "a", BOUND_S, waits.set)
            assert waits.wait(BOUND_S)
            with pytest.raises(ModelBusy, match="leaving"):
                cache.unload("a", 0)
            second = pool.submit(cache.unload, "a", BOUND_S)
        first.result(BOUND_S)
        second.result(BOUND_S)
    assert (states(cache), weights.loaded[0].closed) == ({}, True)


def test_an_unload_waits_no_longer_than_told_for_a_load(cache, weights):
    loading, go_on = threading.Event(), threading.Event()
    use(cache, A)

    def slow(name):
        loading.set()
        assert go_on.wait(BOUND_S)

    weights.before = slow
    with ThreadPoolExecutor(1) as pool:
        load = pool.submit(use, cache, B)
        assert loading.wait(BOUND_S)
        with pytest.raises(ModelBusy, match="another model"):
            cache.unload("a", 0)
        with pytest.raises(ModelBusy, match="b is loading"):
            cache.unload("b", 0)
        go_on.set()
        load.result(BOUND_S)
    assert states(cache) == {"a": "ready", "b": "ready"}


def test_what_an_unload_gave_back_is_measured(cache, weights):
    use(cache, A)
    cache.unload("a", 0)
    assert cache.leaks.returned_bytes == 40
    leak(cache, weights, 5)
    assert (cache.leaks.returned_bytes, cache.leaks.suspect) == (75, False)


def test_a_leak_is_judged_when_nothing_runs(cache, weights):
    leak(cache, weights, LEAK_LIMIT + 1)
    freed = weights.freed
    cache.check_leaks(nothing_runs=False)
    assert weights.freed == freed
    with cache.lease(want(B)):
        freed = weights.freed
        cache.check_leaks(nothing_runs=True)
    assert (weights.freed, cache.leaks.wants_restart) == (freed, None)
    cache.check_leaks(nothing_runs=True)
    assert weights.freed > freed
    assert "21 bytes" in (cache.leaks.wants_restart or "")
    assert cache.leaks.leaked_bytes == 21


def test_what_came_back_later_is_no_leak(cache, weights):
    leak(cache, weights, LEAK_LIMIT + 1)
    weights.leaked = 3
    cache.check_leaks(nothing_runs=True)
    assert (cache.leaks.wants_restart, cache.leaks.leaked_bytes) == (None, 3)
    freed = weights.freed
    cache.check_leaks(nothing_runs=True)
    assert weights.freed == freed


def test_a_request_that_came_during_the_measurement_spoils_it(weights):
    cache = create_cache(weights, Clock())
    use(cache, B)
    leak(cache, weights, LEAK_LIMIT + 1)
    weights.on_free = lambda: use(cache, B)
    cache.check_leaks(nothing_runs=True)
    assert (cache.leaks.suspect, cache.leaks.wants_restart) == (True, None)
