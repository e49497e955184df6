from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from onebox.runtime.load_progress import LoadProgress

BOUND_S = 60


class Ticks:
    """A wait that is over as often as the test says, then when the load ends."""

    def __init__(self, ticks: int) -> None:
        self.left = ticks
        self.done = threading.Event()

    def __call__(self, ended: threading.Event, timeout_s: float) -> bool:
        assert timeout_s == 0.25
        if self.left:
            self.left -= 1
            return False
        self.done.set()
        return ended.wait(BOUND_S)


def follow(held: list[int], estimate: int, tell: Callable[[float], None]) -> None:
    measured: Iterator[int] = iter(held)
    ticks = Ticks(len(held) - 1)
    with LoadProgress(tell, estimate, lambda: next(measured), wait=ticks):
        assert ticks.done.wait(BOUND_S)


@pytest.mark.parametrize(
    ("held", "fractions"),
    [
        ([10, 35, 60], [0.25, 0.5]),
        # A sign of life, also when nothing grew or something else was freed.
        ([10, 60, 60, 20, 85], [0.5, 0.5, 0.5, 0.75]),
        ([10, 5], [0.0]),
        # Never done before it is.
        ([10, 110, 300], [0.99, 0.99]),
    ],
)
def test_the_fraction_is_what_was_taken_since_the_start(held, fractions):
    told: list[float] = []
    follow(held, 100, told.append)
    assert told == fractions


def test_an_estimate_of_nothing_breaks_nothing():
    told: list[float] = []
    follow([0, 0, 7], 0, told.append)
    assert told == [0.0, 0.99]


def test_nothing_is_told_after_the_load():
    told: list[float] = []
    with LoadProgress(told.append, 1, lambda: 0, wait=lambda ended, _: ended.wait(BOUND_S)):
        pass
    assert told == []


def test_a_client_that_cannot_be_told_does_not_disturb_the_load():
    told = threading.Event()

    def tell(fraction: float) -> None:
        told.set()
        raise BrokenPipeError

    with LoadProgress(tell, 1, lambda: 0, wait=lambda ended, _: False):
        assert told.wait(BOUND_S)
