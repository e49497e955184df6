"""Models that do not fit together, all of them wanted all the time: who waits for long is next.

With the budget of 100 bytes two bundles of 40 fit, and a third one waits.
"""

from __future__ import annotations

import pytest

from onebox.runtime.slots import Slots
from tests.unit.runtime.fakes import Clock, FakeBundle, create_share, entry, want

A, B, C = entry("a"), entry("b"), entry("c")
BEGAN = 10.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def slots(clock):
    """A and B are in memory, free, and then leased, at 1. C waits since 10."""
    slots = Slots(create_share(), clock)
    for item in (A, B):
        slot = slots.start_loading(want(item))
        assert slots.finish_loading(slot, FakeBundle(item.name, 40), want(item))
    clock.now = 1.0
    return slots


def lease_again(slots: Slots, clock: Clock, *items: object) -> None:
    """Their leases end at 11, and the next ones begin at once."""
    clock.now = BEGAN + 1
    for item in items:
        slot = slots._slots[item.key]
        slots.release(slot, 0)
        assert slots.lease(want(item)) is slot


def test_until_it_is_in_nobody_else_gets_a_lease(slots, clock):
    lease_again(slots, clock, A, B)
    waiting = want(C)
    slots.take_turn(waiting, BEGAN)
    assert [slots.lease(want(item)) for item in (A, B)] == [None, None]
    assert slots.make_room(want(entry("d")), "idle")[0].verdict == "wait"
    slots.release(slots._slots["a"], 0)
    plan, leaving = slots.make_room(waiting, "idle")
    assert (plan.verdict, [slot.entry for slot in leaving]) == ("fits", [A])
    slots.end_turn(waiting)
    assert slots.lease(want(B)) is not None


def test_nobody_is_held_up_when_that_would_not_help(slots, clock):
    """A and B are held by jobs that began before C came, and will end nobody knows when."""
    clock.now = BEGAN + 1
    slots.take_turn(want(C), BEGAN)
    assert all(slots.lease(want(item)) for item in (A, B))


def test_one_that_ends_is_enough(slots, clock):
    lease_again(slots, clock, A)
    slots.take_turn(want(C), BEGAN)
    assert slots.lease(want(A)) is None


def test_pinned_ones_do_not_go(clock):
    pinned = entry("p", pin=True)
    slots = Slots(create_share(), clock)
    for item in (pinned, A):
        slot = slots.start_loading(want(item))
        assert slots.finish_loading(slot, FakeBundle(item.name, 40), want(item))
        slots.release(slot, 0)
    slots.take_turn(want(C, estimate=70), since=0.0)
    assert slots.lease(want(pinned)) is not None


def test_only_one_has_the_turn(slots, clock):
    lease_again(slots, clock, A, B)
    first, second = want(C), want(entry("d"))
    slots.take_turn(first, BEGAN)
    slots.take_turn(second, BEGAN)
    slots.end_turn(second)
    assert slots.lease(want(A)) is None
    slots.end_turn(first)
    assert slots.lease(want(A)) is not None


def test_its_own_running_requests_count(slots, clock):
    """What they reserved ends with them, and theirs began before."""
    slots.lease(want(A, reserve=15))
    clock.now = BEGAN + 1
    slots.take_turn(want(A, reserve=15), BEGAN)
    assert slots.lease(want(B)) is not None
