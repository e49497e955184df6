"""A server that keeps failing is left alone for a while, and then asked carefully."""

from __future__ import annotations

import asyncio

import pytest

from onebox.services.outgoing.breaker import CircuitBreaker, CircuitOpen
from tests.unit.services.patience import Time


class Failed(Exception):
    pass


class Refused(Exception):
    pass


def is_failure(error: Exception) -> bool:
    return isinstance(error, Failed)


def breaker_of(time: Time, **kwargs: object) -> CircuitBreaker:
    return CircuitBreaker(**{"failures": 3, "open_s": 10, "clock": time.clock, **kwargs})


def call(breaker: CircuitBreaker, error: BaseException | None = None) -> None:
    with breaker.passage(is_failure):
        if error is not None:
            raise error


def fail(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(Failed):
            call(breaker, Failed())


def test_failures_in_a_row_open_it():
    breaker = breaker_of(Time())
    fail(breaker, 3)
    with pytest.raises(CircuitOpen):
        call(breaker)


def test_a_success_between_failures_keeps_it_closed():
    breaker = breaker_of(Time())
    for _ in range(5):
        fail(breaker, 2)
        call(breaker)
    assert breaker.state == "closed"


def test_an_error_that_is_no_failure_shows_that_the_server_answers():
    breaker = breaker_of(Time())
    fail(breaker, 2)
    with pytest.raises(Refused):
        call(breaker, Refused())
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_an_open_one_says_how_long_it_stays_open():
    time = Time()
    breaker = breaker_of(time)
    fail(breaker, 3)
    time.now += 4
    with pytest.raises(CircuitOpen) as caught:
        call(breaker)
    assert caught.value.retry_after_s == 6


def test_after_its_time_a_success_closes_it():
    time = Time()
    breaker = breaker_of(time)
    fail(breaker, 3)
    time.now += 10
    call(breaker)
    assert breaker.state == "closed"
    fail(breaker, 2)
    assert breaker.state == "closed"


def test_after_its_time_one_failure_opens_it_for_as_long_again():
    time = Time()
    breaker = breaker_of(time)
    fail(breaker, 3)
    time.now += 10
    fail(breaker)
    assert breaker.state == "open"
    time.now += 9
    with pytest.raises(CircuitOpen):
        call(breaker)


def test_only_one_request_at_a_time_tries_a_half_open_one():
    time = Time()
    breaker = breaker_of(time)
    fail(breaker, 3)
    time.now += 10
    probe = breaker.enter()
    with pytest.raises(CircuitOpen):
        breaker.enter()
    probe.end(ok=True)
    breaker.enter()


def test_a_cancelled_request_tells_nothing():
    time = Time()
    breaker = breaker_of(time)
    fail(breaker, 2)
    with pytest.raises(asyncio.CancelledError):
        call(breaker, asyncio.CancelledError())
    fail(breaker)
    assert breaker.state == "open"


def test_a_cancelled_probe_lets_the_next_one_through():
    time = Time()
    breaker = breaker_of(time)
    fail(breaker, 3)
    time.now += 10
    with pytest.raises(asyncio.CancelledError):
        call(breaker, asyncio.CancelledError())
    call(breaker)
    assert breaker.state == "closed"


@pytest.mark.parametrize("ok", [True, False])
def test_a_request_from_before_it_opened_changes_nothing(ok):
    time = Time()
    breaker = breaker_of(time)
    early = breaker.enter()
    fail(breaker, 3)
    time.now += 9
    early.end(ok=ok)
    assert breaker.state == "open"
    time.now += 1
    call(breaker)
    assert breaker.state == "closed"


def test_only_the_first_word_of_a_request_counts():
    breaker = breaker_of(Time(), failures=1)
    passage = breaker.enter()
    passage.end(ok=True)
    passage.end(ok=False)
    assert breaker.state == "closed"


def test_each_new_state_is_told():
    time, states = Time(), []
    breaker = breaker_of(time, changed=states.append)
    fail(breaker, 3)
    time.now += 10
    fail(breaker)
    time.now += 10
    call(breaker)
    assert states == ["open", "half_open", "open", "half_open", "closed"]
