from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from onebox.engines.gate import Gate
from tests.unit.engines.fakes import BOUND_S, until


class Waiters:
    """Threads that want the gate, started one by one so that their order of arrival is known."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._threads: dict[str, threading.Thread] = {}
        self.order: list[str] = []

    def arrive(self, name: str, rank: int) -> None:
        thread = threading.Thread(target=self._take, args=(name, rank), daemon=True)
        thread.start()
        self._threads[name] = thread
        # The gate tells nobody who waits, so its list is watched.
        until(lambda: thread in self._gate._waiting)

    def urge(self, name: str, rank: int) -> None:
        self._gate.urge(self._threads[name], rank)

    def _take(self, name: str, rank: int) -> None:
        with self._gate.turn(lambda: rank):
            self.order.append(name)

    def finish(self) -> list[str]:
        for thread in self._threads.values():
            thread.join(BOUND_S)
        return self.order


def of(rank: int) -> Callable[[], int]:
    return lambda: rank


@pytest.fixture
def gate():
    return Gate()


def test_waiters_go_by_rank_then_by_arrival(gate):
    waiters = Waiters(gate)
    with gate.turn(of(0)):
        for name, rank in [("batch", 2), ("job", 1), ("first", 0), ("second", 0)]:
            waiters.arrive(name, rank)
        assert waiters.order == []
    assert waiters.finish() == ["first", "second", "job", "batch"]


@pytest.mark.parametrize(
    ("holder", "waiter", "goes_first"), [(1, 0, True), (1, 1, True), (0, 1, False)]
)
def test_between_steps_only_better_or_equal_ranks_go_first(gate, holder, waiter, goes_first):
    waiters = Waiters(gate)
    with gate.turn(of(holder)):
        waiters.arrive("waiter", waiter)
        gate.hand_over(of(holder))
        assert waiters.order == (["waiter"] if goes_first else [])
    assert waiters.finish() == ["waiter"]


def test_handing_over_with_nobody_waiting_costs_nothing(gate):
    with gate.turn(of(0)):
        gate.hand_over(of(0))
        gate.hand_over(of(0))


def test_the_gate_is_held_again_after_handing_over(gate):
    waiters = Waiters(gate)
    with gate.turn(of(1)):
        waiters.arrive("a", 0)
        gate.hand_over(of(1))
        waiters.arrive("b", 2)
        assert waiters.order == ["a"]
    assert waiters.finish() == ["a", "b"]


def test_a_failure_inside_frees_the_gate(gate):
    with contextlib.suppress(ValueError), gate.turn(of(0)):
        raise ValueError
    waiters = Waiters(gate)
    thread = threading.Thread(target=waiters._take, args=("next", 0), daemon=True)
    thread.start()
    thread.join(BOUND_S)
    assert waiters.order == ["next"]


def test_never_two_at_a_time(gate):
    inside = 0
    most = 0

    def work(rank: int) -> None:
        nonlocal inside, most
        with gate.turn(of(rank)):
            for _ in range(20):
                inside += 1
                most = max(most, inside)
                inside -= 1
                gate.hand_over(of(rank))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, rank) for rank in (0, 1, 1, 2)]:
            done.result(BOUND_S)
    assert most == 1


def test_who_is_urged_goes_before_worse_ranks_and_keeps_its_place_among_equals(gate):
    waiters = Waiters(gate)
    with gate.turn(of(2)):
        for name, rank in [("urged", 2), ("job", 1), ("batch", 2)]:
            waiters.arrive(name, rank)
        waiters.urge("urged", 1)
        gate.hand_over(of(1))
        assert waiters.order == ["urged", "job"]
    assert waiters.finish() == ["urged", "job", "batch"]


def test_urging_never_makes_a_rank_worse_and_does_nothing_to_who_does_not_wait(gate):
    waiters = Waiters(gate)
    gate.urge(threading.current_thread(), 0)
    with gate.turn(of(1)):
        waiters.arrive("first", 0)
        waiters.arrive("second", 1)
        waiters.urge("first", 2)
    assert waiters.finish() == ["first", "second"]


def test_the_rank_is_asked_when_the_place_is_taken(gate):
    asked = []

    def rank():
        asked.append(len(gate._waiting))
        return 1

    with gate.turn(rank):
        assert asked == [0]
        gate.hand_over(rank)
        assert asked == [0, 0]
