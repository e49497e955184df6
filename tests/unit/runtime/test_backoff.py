from __future__ import annotations

from onebox.runtime.backoff import HEALTHY_AFTER_S, HOPELESS_AFTER, LAST_S, Backoff


def waits(backoff: Backoff, count: int, life_s: float = 1.0) -> list[float]:
    """What follows so many lives of that length."""
    now, found = 0.0, []
    for _ in range(count):
        now += life_s
        found.append(backoff.next_s(now))
        now += found[-1]
    return found


def test_it_doubles_up_to_a_limit():
    assert waits(Backoff(), 8) == [0.5, 1, 2, 4, 8, 16, LAST_S, LAST_S]


def test_it_is_hopeless_after_some_failures_in_a_row():
    backoff = Backoff()
    waits(backoff, HOPELESS_AFTER - 1)
    assert not backoff.hopeless
    backoff.next_s(10)
    assert backoff.hopeless
    assert backoff.failures == HOPELESS_AFTER


def test_a_long_life_makes_up_for_all_failures():
    backoff = Backoff()
    assert waits(backoff, 9, HEALTHY_AFTER_S + 1) == [0.5] * 9
    assert not backoff.hopeless


def test_the_rest_between_two_lives_is_no_life():
    assert waits(Backoff(), 8, HEALTHY_AFTER_S - 1)[-1] == LAST_S


def test_a_very_long_row_of_failures_is_no_trouble():
    assert waits(Backoff(), 3000)[-1] == LAST_S
