from __future__ import annotations

import pytest

from onebox.runtime.freed_memory import PATIENCE_S, FreedMemory
from tests.support.clock import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def given_back():
    return []


@pytest.fixture
def freed(clock, given_back):
    return FreedMemory(lambda: given_back.append(clock.now), clock)


def test_what_runs_have_freed_goes_back_once_after_a_while_without_one(freed, clock, given_back):
    freed.look(1)
    clock.advance(PATIENCE_S - 1)
    freed.look(1)
    assert given_back == []
    clock.advance(1)
    freed.look(1)
    clock.advance(10 * PATIENCE_S)
    freed.look(1)
    assert given_back == [PATIENCE_S]


def test_it_stays_while_runs_follow_one_another(freed, clock, given_back):
    for runs in range(1, 10):
        freed.look(runs)
        clock.advance(PATIENCE_S - 1)
    assert given_back == []


def test_it_stays_while_one_runs_however_long(freed, clock, given_back):
    for _ in range(3):
        freed.look(None)
        clock.advance(PATIENCE_S)
    freed.look(1)
    assert given_back == []


def test_a_worker_that_has_not_run_anything_has_nothing_to_give_back(freed, clock, given_back):
    for _ in range(3):
        freed.look(0)
        clock.advance(PATIENCE_S)
    assert given_back == []
