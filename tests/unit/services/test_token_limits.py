"""Tokens a minute."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.services.callers import caller
from tests.unit.services.limited import Limited, told

ME = caller()


def run(work):
    return asyncio.run(asyncio.wait_for(work, 120))


async def used(limited, count, who=ME):
    limited.limits.used_tokens(who.id, count)
    await asyncio.sleep(0)


async def is_let_in(limited, who=ME, route_class="text"):
    return (await limited.limits.hit(who, None, route_class)).refused is None


def test_who_has_used_them_up_waits_until_some_are_free_again():
    limited = Limited(limit_tokens=1000)

    async def use():
        assert await is_let_in(limited)
        await used(limited, 999)
        assert await is_let_in(limited)
        await used(limited, 1)
        refused = (await limited.limits.hit(ME, None, "text")).refused
        assert "1000 tokens a minute" in refused.message
        assert refused.details == {"kind": "tokens", "limit": 1000, "window_s": 60}
        limited.clock.advance(refused.retry_after_s - 0.01)
        assert not await is_let_in(limited)
        limited.clock.advance(0.02)
        assert await is_let_in(limited)

    run(use())
    assert limited.hits("text", "tokens") == 2


def test_what_was_used_beyond_the_limit_is_waited_for():
    limited = Limited(limit_tokens=1000)

    async def use():
        await used(limited, 4000)
        refused = (await limited.limits.hit(ME, None, "text")).refused
        # The rest of this minute, and three quarters of the next.
        assert refused.retry_after_s == pytest.approx(60 + 45, abs=0.5)
        limited.clock.advance(refused.retry_after_s - 0.1)
        assert not await is_let_in(limited)
        limited.clock.advance(0.2)
        assert await is_let_in(limited)

    run(use())


def test_two_minutes_later_all_is_forgotten():
    limited = Limited(limit_tokens=1000)

    async def use():
        await used(limited, 10**6)
        limited.clock.advance(119)
        assert not await is_let_in(limited)
        limited.clock.advance(1)
        return await limited.limits.hit(ME, None, "text")

    assert told(run(use()))["remaining-tokens"] == "1000"


def test_what_an_answer_says_of_tokens():
    limited = Limited(limit_tokens=1000, limit_text=5)

    async def use():
        await used(limited, 300)
        limited.clock.advance(15)
        good = await limited.limits.hit(ME, None, "text")
        await used(limited, 700)
        refused = await limited.limits.hit(ME, None, "text")
        return told(good), told(refused)

    good, refused = run(use())
    assert good == {
        "limit-requests": "5",
        "remaining-requests": "4",
        "reset-requests": "1m0s",
        "limit-tokens": "1000",
        "remaining-tokens": "700",
        "reset-tokens": "1m45s",
    }
    # One that is refused for its tokens is not counted among the requests.
    assert (refused["remaining-tokens"], refused["remaining-requests"]) == ("0", "4")
    assert refused["reset-tokens"] == "46s"


@pytest.mark.parametrize("route_class", ["images", "audio", "video", "other", "health"])
def test_what_needs_no_tokens_is_not_refused_for_them(route_class):
    limited = Limited(limit_tokens=10)

    async def use():
        await used(limited, 100)
        assert await is_let_in(limited, route_class=route_class)
        assert not await is_let_in(limited, route_class="prompt")

    run(use())


def test_a_key_has_its_own_number_of_them():
    limited = Limited(limit_tokens=10)
    rich, poor = caller("key:2", tokens_per_minute=1000), caller("key:3", tokens_per_minute=5)

    async def use():
        for who in (ME, rich, poor):
            await used(limited, 9, who)
        assert [await is_let_in(limited, who) for who in (ME, rich, poor)] == [True, True, False]

    run(use())


def test_only_keys_have_a_limit_that_the_server_does_not_have():
    limited = Limited()
    mine = caller("key:2", tokens_per_minute=5)

    async def use():
        assert await is_let_in(limited, mine)
        await used(limited, 9, mine)
        await used(limited, 9)
        assert not await is_let_in(limited, mine)
        assert await is_let_in(limited)

    run(use())


def test_a_job_for_a_text_needs_tokens():
    limited = Limited()
    mine = caller("key:2", tokens_per_minute=5, requests_per_minute=9)

    async def use():
        first = await limited.limits.hit_task(mine, "text")
        await used(limited, 9, mine)
        second = await limited.limits.hit_task(mine, "text")
        return first, second

    first, second = run(use())
    assert "limit-requests" not in told(first)
    assert second.refused is not None


def test_addresses_have_no_tokens():
    limited = Limited(limit_tokens=10)

    async def use():
        return await limited.limits.hit(None, "1.2.3.4", "text")

    assert run(use()).headers == ()


@pytest.mark.parametrize("count", [0, -5])
def test_no_tokens_are_no_tokens(count):
    limited = Limited(limit_tokens=10)

    async def use():
        await used(limited, count)
        return await limited.limits.hit(ME, None, "text")

    assert told(run(use()))["remaining-tokens"] == "10"


def test_closing_waits_for_what_was_used():
    limited = Limited(limit_tokens=10)

    async def use():
        limited.limits.used_tokens(ME.id, 10)
        await limited.limits.close()

    run(use())
