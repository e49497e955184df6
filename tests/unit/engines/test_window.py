from __future__ import annotations

import pytest

from onebox.engines.window import Window


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def window(clock):
    return Window(0.005, clock)


def arrive(window, clock, *gaps_s):
    for gap_s in gaps_s:
        clock.now += gap_s
        window.arrived()


def test_at_first_nothing_is_waited_for(window, clock):
    assert window.length_s(1) == 0
    arrive(window, clock, 0, 0.0001, 0.0001)
    assert window.length_s(1) == 0


def test_under_load_a_batch_waits_for_a_share_of_its_run(window, clock):
    arrive(window, clock, 0, 0.001, 0.001)
    window.ran(3, 0.02)
    arrive(window, clock, 0.001)
    assert window.length_s(1) == pytest.approx(0.002)


def test_never_longer_than_its_limit(window, clock):
    window.ran(3, 10.0)
    arrive(window, clock, 0.001)
    assert window.length_s(1) == 0.005


def test_it_ends_when_as_many_are_there_as_last_time(window, clock):
    window.ran(3, 1.0)
    arrive(window, clock, 0, 0.001, 0.001)
    assert [window.length_s(works) > 0 for works in (1, 2, 3, 4)] == [True, True, False, False]


def test_after_a_batch_of_one_nothing_is_waited_for(window, clock):
    window.ran(3, 1.0)
    window.ran(1, 1.0)
    arrive(window, clock, 0, 0.001)
    assert window.length_s(1) == 0


def test_who_finds_it_idle_starts_at_once(window, clock):
    window.ran(3, 1.0)
    arrive(window, clock, 0.9)
    assert window.length_s(1) > 0
    clock.now += 0.2
    assert window.length_s(1) == 0


def test_requests_slower_than_the_runs_are_not_waited_for(window, clock):
    window.ran(2, 1.0)
    arrive(window, clock, *[1.5] * 20)
    window.ran(2, 1.0)
    assert window.length_s(1) == 0


def test_a_long_pause_is_not_held_against_the_next_burst(window, clock):
    window.ran(4, 1.0)
    arrive(window, clock, 0, 3600, *[0.01] * 5)
    window.ran(4, 1.0)
    assert window.length_s(1) > 0


def test_clients_who_all_come_back_after_each_batch_are_waited_for(window, clock):
    for _ in range(5):
        arrive(window, clock, *[0.001] * 4)
        clock.now += 0.1
        window.ran(4, 0.1)
    arrive(window, clock, 0.001)
    assert window.length_s(1) == 0.005
