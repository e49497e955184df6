"""Tries that are made again, and those that are not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
import pytest

from onebox.services.outgoing.client import BadAnswer
from onebox.services.outgoing.retrying import (
    BadStatus,
    RetryPolicy,
    check_status,
    parse_retry_after,
    with_retries,
)
from tests.unit.services.patience import Time


class Server:
    """Gives the errors one by one; then "fine"."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.tries = 0

    async def ask(self) -> str:
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        return "fine"


def policy_of(time: Time, **kwargs: object) -> RetryPolicy:
    return RetryPolicy(
        **{"sleep": time.sleep, "clock": time.clock, "chance": lambda: 0.5, **kwargs}
    )


def ask(server: Server, time: Time, **kwargs: object) -> str:
    return asyncio.run(with_retries(server.ask, policy_of(time, **kwargs)))


def test_what_goes_well_is_asked_once():
    server, time = Server(), Time()
    assert ask(server, time) == "fine"
    assert (server.tries, time.waits) == (1, [])


def test_waits_double_from_one_second_to_eight():
    server, time = Server(*[BadStatus(503)] * 4), Time()
    assert ask(server, time) == "fine"
    assert time.waits == [1, 2, 4, 8]


def test_after_four_retries_the_last_error_stands():
    server, time = Server(*[BadStatus(500)] * 4, BadStatus(502), BadStatus(503)), Time()
    with pytest.raises(BadStatus) as caught:
        ask(server, time)
    assert (caught.value.status, server.tries) == (502, 5)


@pytest.mark.parametrize(("chance", "wait"), [(0.0, 0.75), (1.0, 1.25)])
def test_each_wait_has_jitter(chance, wait):
    server, time = Server(BadStatus(503)), Time()
    ask(server, time, chance=lambda: chance)
    assert time.waits == [wait]


@pytest.mark.parametrize(
    "error",
    [
        httpx2.ConnectError("refused"),
        httpx2.ReadTimeout("slow"),
        httpx2.RemoteProtocolError("hung up"),
        TimeoutError(),
        BadStatus(429),
        BadStatus(500),
        BadStatus(599),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again(error):
    server = Server(error)
    assert ask(server, Time()) == "fine"
    assert server.tries == 2


@pytest.mark.parametrize(
    "error",
    [
        BadStatus(400),
        BadStatus(401),
        BadStatus(307),
        BadAnswer("not JSON"),
        httpx2.UnsupportedProtocol("ftp"),
        httpx2.LocalProtocolError("a bad header"),
        ValueError(),
    ],
    ids=repr,
)
def test_what_will_not_pass_is_not_tried_again(error):
    server = Server(error)
    with pytest.raises(type(error)):
        ask(server, Time())
    assert server.tries == 1


def test_a_server_that_names_a_longer_wait_gets_it():
    server, time = Server(BadStatus(429, 5), BadStatus(503, 0)), Time()
    ask(server, time)
    assert time.waits == [5, 2]


def test_a_server_that_asks_for_too_long_a_wait_is_not_waited_for():
    server, time = Server(BadStatus(429, 31)), Time()
    with pytest.raises(BadStatus):
        ask(server, time)
    assert (server.tries, time.waits) == (1, [])


def test_no_wait_begins_that_would_end_too_late():
    server, time = Server(*[BadStatus(503)] * 9), Time()
    with pytest.raises(BadStatus):
        ask(server, time, max_total_s=7)
    assert time.waits == [1, 2, 4]


def test_tries_that_take_long_count_too():
    time = Time()
    server = Server(*[BadStatus(503)] * 9)

    async def slowly() -> str:
        time.now += 3
        return await server.ask()

    with pytest.raises(BadStatus):
        asyncio.run(with_retries(slowly, policy_of(time, max_total_s=10)))
    assert time.waits == [1, 2]


def test_each_error_is_told_before_its_wait():
    told: list[Exception] = []
    server, time = Server(BadStatus(503), BadStatus(502)), Time()
    asyncio.run(with_retries(server.ask, policy_of(time), retried=told.append))
    assert [str(error) for error in told] == [
        "the answer has the status 503",
        "the answer has the status 502",
    ]


def test_whoever_leaves_during_a_wait_ends_the_tries():
    server = Server(*[BadStatus(503)] * 9)

    async def run() -> None:
        waiting = asyncio.Event()

        async def sleep(_: float) -> None:
            waiting.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(with_retries(server.ask, RetryPolicy(sleep=sleep)))
        await waiting.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert server.tries == 1


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("120", 120),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("9" * 400, 999_999_999),
        ("soon", None),
        ("-1", None),
        ("", None),
        ("²", None),
        (None, None),
    ],
)
def test_how_long_an_answer_asks_to_wait(value, seconds):
    assert parse_retry_after(value, now=_at(10)) == seconds


def test_a_status_that_is_no_success_is_an_error_with_its_wait():
    check_status(204, {})
    with pytest.raises(BadStatus) as caught:
        check_status(503, httpx2.Headers({"Retry-After": "7"}))
    assert (caught.value.status, caught.value.retry_after_s) == (503, 7)


def _at(seconds: float) -> Callable[[], float]:
    return lambda: seconds
