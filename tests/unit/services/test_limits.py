"""Requests and tokens a minute, by caller and by address."""

from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import RateLimited
from onebox.services.access.limits.headers import duration
from onebox.services.access.limits.rules import FAILED, PUBLIC, ROUTE_CLASSES
from tests.support.clock import Clock
from tests.unit.services.callers import caller
from tests.unit.services.limited import Limited, told

ME = caller()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 120))


async def let_in(limited, times, *, who=ME, address=None, route_class="text"):
    """How many of so many requests were."""
    found = [await limited.limits.hit(who, address, route_class) for _ in range(times)]
    return sum(counted.refused is None for counted in found)


@pytest.mark.parametrize("route_class", [*ROUTE_CLASSES, FAILED])
def test_public_lets_in_so_many_a_minute_of_each_class_and_no_more(route_class):
    limited = Limited(limits="public")
    allowed = PUBLIC[route_class]
    assert run(let_in(limited, allowed + 5, route_class=route_class)) == allowed
    assert limited.hits(route_class, "requests") == 5


def test_the_numbers_of_public_are_the_ones_that_were_asked_for():
    assert [PUBLIC[name] for name in ("text", "prompt", "images", "health")] == [60, 20, 10, 30]


def test_off_counts_nothing():
    limited = Limited()

    async def use():
        counted = await limited.limits.hit(ME, None, "text")
        limited.limits.used_tokens(ME.id, 10**9)
        return counted, await let_in(limited, 1000), await limited.limits.failed("1.2.3.4")

    counted, number, failed = run(use())
    assert (counted.headers, counted.refused, number) == ((), None, 1000)
    assert failed.refused is None


def test_a_request_of_no_class_is_not_counted():
    limited = Limited(throttle_rpm=1)
    assert run(let_in(limited, 9, route_class=None)) == 9


def test_throttle_rpm_is_one_number_for_all_classes():
    limited = Limited(throttle_rpm=3)
    for route_class in (*ROUTE_CLASSES, FAILED):
        assert run(let_in(limited, 5, route_class=route_class)) == 3


def test_a_setting_of_a_class_goes_before_the_others_and_works_alone():
    assert run(let_in(Limited(limit_text=2), 9)) == 2
    assert run(let_in(Limited(limit_text=2), 9, route_class="images")) == 9
    both = Limited(limit_images=2, throttle_rpm=4, limits="public")
    assert run(let_in(both, 9, route_class="images")) == 2
    assert run(let_in(both, 9)) == 4


def test_zero_takes_a_limit_away():
    assert run(let_in(Limited(limits="public", limit_text=0), 100)) == 100
    assert run(let_in(Limited(limits="public", throttle_rpm=0), 100)) == 100


@pytest.mark.parametrize("name", ["THROTTLE_RPM", "ONEBOX_THROTTLE_RPM"])
def test_throttle_rpm_has_its_plain_name(monkeypatch, name):
    monkeypatch.setenv(name, "4")
    assert run(let_in(Limited(), 9)) == 4


@pytest.mark.parametrize("route_class", [*ROUTE_CLASSES, FAILED])
def test_each_class_has_its_setting(monkeypatch, route_class):
    monkeypatch.setenv(f"ONEBOX_LIMIT_{route_class.upper()}", "3")
    assert run(let_in(Limited(), 9, route_class=route_class)) == 3


def test_the_window_moves():
    limited = Limited(limit_text=3)

    async def use():
        numbers = []
        for wait_s in (0, 20, 20, 19.9, 0.1, 0.1):
            limited.clock.advance(wait_s)
            numbers.append(await let_in(limited, 1))
        return numbers

    # Three within a minute, and the fourth when the first is a minute old; not one more.
    assert run(use()) == [1, 1, 1, 0, 1, 0]


def test_more_are_never_let_in_within_any_minute_than_the_limit():
    limited = Limited(limit_text=5)

    async def use():
        times = []
        for _ in range(900):
            limited.clock.advance(0.7)
            if await let_in(limited, 1):
                times.append(limited.clock.now)
        return times

    times = run(use())
    assert len(times) >= 5 * 10
    assert all(late - early >= 60 for early, late in zip(times, times[5:], strict=False))


def test_callers_classes_and_addresses_are_counted_apart():
    limited = Limited(throttle_rpm=1)

    async def use():
        assert await let_in(limited, 2) == 1
        assert await let_in(limited, 2, route_class="images") == 1
        assert await let_in(limited, 2, who=caller("key:2")) == 1
        assert await let_in(limited, 2, who=None, address="1.2.3.4") == 1
        assert await let_in(limited, 2, who=None, address="1.2.3.5") == 1
        assert await let_in(limited, 2, who=None, address=None) == 1
        # A token may call its caller what it likes.
        assert await let_in(limited, 2, who=caller("address 1.2.3.4")) == 1

    run(use())


@pytest.mark.parametrize(
    ("one", "other", "is_one"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:1.2.3.4", "1.2.3.4", True),
        ("::ffff:1.2.3.4", "::ffff:1.2.3.5", False),
        ("1.2.3.4", "1.2.3.5", False),
        ("unknown", "_hidden", False),
    ],
)
def test_one_client_has_a_whole_network_of_ipv6_for_itself(one, other, is_one):
    limited = Limited(limit_health=1)

    async def use():
        return [
            await let_in(limited, 1, who=None, address=address, route_class="health")
            for address in (one, other)
        ]

    assert run(use()) == [1, 0 if is_one else 1]


def test_what_an_answer_says():
    limited = Limited(limit_text=2)

    async def use():
        found = []
        for wait_s in (0, 15, 0.5, 44.4):
            limited.clock.advance(wait_s)
            found.append(await limited.limits.hit(ME, None, "text"))
        return found

    first, second, third, fourth = run(use())
    assert told(first) == {
        "limit-requests": "2",
        "remaining-requests": "1",
        "reset-requests": "1m0s",
    }
    assert told(second)["remaining-requests"] == "0"
    assert told(second)["reset-requests"] == "45s"
    assert told(third) == {
        "limit-requests": "2",
        "remaining-requests": "0",
        "reset-requests": "45s",
    }
    assert told(fourth)["reset-requests"] == "100ms"
    error = third.refused
    assert isinstance(error, RateLimited)
    assert error.retry_after_s == pytest.approx(44.5)
    assert "2 requests a minute" in error.message
    assert "45 s" in error.message
    assert error.details == {"kind": "requests", "limit": 2, "window_s": 60}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1, "0ms"), (0, "0ms"), (0.0001, "1ms"), (0.12, "120ms"), (0.1 + 1e-9, "100ms")),
        *((0.9999, "1s"), (1, "1s"), (1.2, "2s"), (59.5, "1m0s"), (60, "1m0s"), (90, "1m30s")),
        *((360, "6m0s"), (3600, "1h0m0s")),
    ],
)
def test_times_are_written_as_openai_does(seconds, text):
    assert duration(seconds) == text


def test_a_key_with_a_number_of_its_own_has_it_for_all_routes_together():
    limited = Limited(limits="public")
    mine = caller(requests_per_minute=3)

    async def use():
        assert await let_in(limited, 2, who=mine, route_class="images") == 2
        assert await let_in(limited, 2, who=mine, route_class="text") == 1
        found = await limited.limits.hit(mine, None, "other")
        assert told(found)["limit-requests"] == "3"
        assert found.refused is not None

    run(use())
    assert run(let_in(Limited(), 9, who=mine)) == 3


def test_a_key_may_have_more_than_the_server_gives_others():
    assert run(let_in(Limited(limit_text=2), 9, who=caller(requests_per_minute=7))) == 7


def test_who_sends_no_valid_key_is_counted_by_address():
    limited = Limited(limit_failed=2)

    async def use():
        refused = [(await limited.limits.failed("1.2.3.4")).refused for _ in range(3)]
        assert refused[:2] == [None, None]
        assert refused[2] is not None
        assert "without a valid key" in refused[2].message
        assert await let_in(limited, 3, address="1.2.3.4") == 3

    run(use())
    assert limited.hits(FAILED, "requests") == 1


def test_a_job_counts_as_what_its_task_makes_too():
    limited = Limited(limit_images=2)

    async def submit(who):
        assert (await limited.limits.hit(who, None, "other")).refused is None
        return (await limited.limits.hit_task(who, "images")).refused is None

    async def use():
        assert [await submit(ME) for _ in range(3)] == [True, True, False]
        # With a number for all routes it was counted when it came.
        mine = caller("key:2", requests_per_minute=3)
        assert [await submit(mine) for _ in range(3)] == [True, True, True]

    run(use())


def test_keys_in_the_store_are_short_and_tell_nothing():
    limited = Limited(throttle_rpm=9)

    async def use():
        await limited.limits.hit(caller("jwt:" + "x" * 8000), None, "text")
        await limited.limits.hit(None, "203.0.113.9", "health")
        windows = limited.limits._store._windows
        return list(windows._storage._moving)

    keys = run(use())
    assert len(keys) == 2
    assert all(len(key) < 64 and "203" not in key and "x" not in key for key in keys)


def test_a_clock_that_starts_anywhere_will_do():
    for now in (0.0, 1e-9, 1.8e9):
        limited = Limited(Clock(now), limit_text=2)
        assert run(let_in(limited, 3)) == 2
