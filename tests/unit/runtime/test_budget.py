from __future__ import annotations

import pytest

from onebox.runtime.budget import Limits, Plan, Resident, choose_idle, plan_room


def idle(key: str, size: int, released: float) -> Resident:
    return Resident(key, size, 0, 0, False, released)


def leased(key: str, size: int, reserved: int = 0) -> Resident:
    return Resident(key, size, reserved, 1, False, 0.0)


def pinned(key: str, size: int) -> Resident:
    return Resident(key, size, 0, 0, True, 0.0)


FITS = Plan("fits")
WAIT = Plan("wait")
NEVER = Plan("never")


@pytest.mark.parametrize(
    ("needed", "residents", "plan"),
    [
        (100, [], FITS),
        (101, [], NEVER),
        (0, [leased("a", 100)], FITS),
        (40, [idle("a", 60, 1)], FITS),
        (41, [idle("a", 60, 1)], Plan("fits", ("a",))),
        # The one released longest ago goes first, in whatever order they stand.
        (50, [idle("new", 40, 9), idle("old", 40, 1)], Plan("fits", ("old",))),
        # No more than is needed, even where one big one would do.
        (70, [idle("c", 30, 3), idle("a", 30, 1), idle("b", 30, 2)], Plan("fits", ("a", "b"))),
        (100, [idle("a", 30, 1), idle("b", 30, 2)], Plan("fits", ("a", "b"))),
        # What is in use stays, with its working memory.
        (60, [leased("a", 50)], WAIT),
        (50, [leased("a", 50, 1)], WAIT),
        (50, [leased("a", 50)], FITS),
        (50, [leased("a", 50), idle("b", 20, 1)], Plan("fits", ("b",))),
        # What would not help is not thrown out.
        (60, [leased("a", 50), idle("b", 20, 1)], WAIT),
        (60, [pinned("a", 50)], NEVER),
        (50, [pinned("a", 50)], FITS),
        (50, [pinned("a", 50), idle("b", 10, 1)], Plan("fits", ("b",))),
        (100, [leased("a", 50)], WAIT),
    ],
)
def test_a_plan_for_a_budget_of_100_bytes(needed, residents, plan):
    assert plan_room(needed, Limits(100, 100, 100), residents, "nothing") == plan


def claim(share: int) -> Plan:
    return Plan("claim", claim_bytes=share)


OLD, NEW = idle("old", 20, 1), idle("new", 20, 2)


@pytest.mark.parametrize(
    ("needed", "residents", "claimed", "plan"),
    [
        # 1. The share as it is.
        (10, [OLD, NEW], "nothing", FITS),
        # 2. What others do not use, before anything is evicted.
        (30, [OLD, NEW], "nothing", claim(70)),
        (90, [OLD, NEW], "nothing", claim(100)),
        # 3. Its own idle ones, no more than are needed.
        (30, [OLD, NEW], "slack", Plan("fits", ("old",))),
        (50, [OLD, NEW], "slack", Plan("fits", ("old", "new"))),
        # 4. The idle ones of others; its own will go for it too.
        (60, [OLD, NEW], "slack", claim(60)),
        (60, [leased("a", 30), OLD], "slack", claim(90)),
        # 5. Wait, and throw nothing out for nothing.
        (60, [OLD, NEW], "idle", WAIT),
        (60, [leased("a", 41), OLD], "slack", WAIT),
        (60, [leased("a", 41), OLD], "idle", WAIT),
    ],
)
def test_a_share_of_50_bytes_grows_before_and_after_evicting(needed, residents, claimed, plan):
    assert plan_room(needed, Limits(50, 100, 100), residents, claimed) == plan


@pytest.mark.parametrize(("needed", "plan"), [(81, NEVER), (80, WAIT), (61, WAIT), (60, FITS)])
def test_what_does_not_fit_now_may_fit_when_other_programs_end(needed, plan):
    assert plan_room(needed, Limits(60, 60, 80), [], "nothing") == plan


def test_a_pool_that_shrank_below_the_share_is_not_claimed_from():
    assert plan_room(20, Limits(50, 40, 100), [leased("a", 40)], "nothing") == WAIT


@pytest.mark.parametrize(
    ("size", "keys"), [(0, []), (-5, []), (1, ["old"]), (21, ["old", "new"]), (99, ["old", "new"])]
)
def test_idle_ones_are_chosen_up_to_what_is_needed(size, keys):
    residents = [NEW, leased("l", 50), OLD, pinned("p", 50)]
    assert [r.key for r in choose_idle(size, residents)] == keys
