from __future__ import annotations

from typing import Any

import pytest

from onebox.runtime.placement import WorkerView, choose_worker

NEEDED = 100
REPLICATE_AT = 4


def workers(*changes: dict[str, Any]) -> list[WorkerView]:
    """Idle workers with nothing loaded and room for ten bundles, but for what is given."""
    usual: dict[str, Any] = {
        "loaded": False,
        "waiting": 0,
        "pending": 0,
        "free_bytes": 1000,
        "idle_bytes": 0,
        "pool_bytes": 1000,
    }
    return [WorkerView(index, **(usual | change)) for index, change in enumerate(changes)]


def choose(*changes: dict[str, Any]) -> int:
    return choose_worker(workers(*changes), NEEDED, replicate_at=REPLICATE_AT)


def test_a_loaded_bundle_is_used_even_on_a_busy_and_full_worker():
    assert choose({}, {"loaded": True, "waiting": 3, "pending": 9, "free_bytes": 0}) == 1


def test_of_several_that_have_it_the_one_where_fewest_wait_for_it():
    busy = {"loaded": True, "waiting": 2, "pending": 2}
    assert choose(busy, {"loaded": True, "waiting": 1, "pending": 9}) == 1
    assert choose(busy, {"loaded": True, "waiting": 2, "pending": 1}) == 1
    assert choose(busy, busy) == 0


@pytest.mark.parametrize(
    ("waiting", "spare", "chosen"),
    [
        (3, {}, 0),
        (4, {}, 1),
        (9, {}, 1),
        (9, {"free_bytes": 100}, 1),
        (9, {"free_bytes": 99, "idle_bytes": 900}, 0),
        (9, {"pending": 1}, 0),
    ],
    ids=[
        "queue is short",
        "queue is long",
        "queue is very long",
        "it just fits there",
        "something would have to be evicted there",
        "the other one is busy",
    ],
)
def test_a_long_queue_gets_a_second_worker_that_is_idle_and_has_room(waiting, spare, chosen):
    assert choose({"loaded": True, "waiting": waiting, "pending": waiting}, spare) == chosen


def test_it_is_the_shortest_queue_that_must_be_long_for_a_replica():
    long, short = {"loaded": True, "waiting": 9}, {"loaded": True, "waiting": 3}
    assert choose(long, {}, short) == 2


def test_a_replica_goes_to_the_first_worker_that_can_have_it():
    hot = {"loaded": True, "waiting": 9}
    assert choose(hot, {"pending": 1}, {}, {}) == 2


def test_what_is_loaded_nowhere_goes_where_the_least_is_evicted():
    assert choose({"free_bytes": 0, "idle_bytes": 500}, {"free_bytes": 30, "idle_bytes": 500}) == 1
    # Room as it is beats a worker with less to do.
    assert choose({"free_bytes": 99, "idle_bytes": 500}, {"free_bytes": 100, "pending": 7}) == 1


def test_equal_evictions_go_to_the_less_busy_worker_then_to_the_first():
    assert choose({"pending": 2}, {"pending": 1, "free_bytes": 100}) == 1
    assert choose({"pending": 1}, {"pending": 1}) == 0


def test_a_worker_that_can_evict_enough_is_better_than_one_that_must_wait_for_leases():
    assert choose({"free_bytes": 60, "idle_bytes": 10}, {"free_bytes": 0, "idle_bytes": 100}) == 1


def test_a_pool_that_it_can_never_fit_is_the_last_choice():
    tiny = {"pool_bytes": 99, "free_bytes": 99}
    assert choose(tiny, {"free_bytes": 0, "pending": 50}) == 1
    assert choose(tiny) == 0
