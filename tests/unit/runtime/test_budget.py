from __future__ import annotations

import pytest

from onebox.runtime.budget import Plan, Resident, plan_room


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
    assert plan_room(needed, 100, residents) == plan
