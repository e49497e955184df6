"""Where requests are counted: what it holds, and what happens when it is away."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from onebox.core.errors import BackendUnavailable, ConfigurationError
from onebox.services.access.limits import store as limit_store
from onebox.services.access.limits.memory_windows import BoundedMemory
from onebox.services.access.limits.store import PAUSE_S
from tests.support.clock import Clock
from tests.unit.services.callers import caller
from tests.unit.services.limited import Limited, sample

ME = caller()
FAILURES = "onebox_rate_limit_store_failures_total"


def run(work):
    return asyncio.run(asyncio.wait_for(work, 120))


def test_a_flood_of_addresses_takes_bounded_room():
    storage = BoundedMemory(Clock(), max_windows=100)

    async def use():
        for number in range(5000):
            await storage.acquire_entry(f"key{number}", 2, 60)
            await storage.acquire_sliding_window_entry(f"key{number}", 2, 60)
        return len(storage)

    assert run(use()) == 200


def test_who_asks_often_stays_counted_in_a_flood():
    storage = BoundedMemory(Clock(), max_windows=100)

    async def use():
        let_in = 0
        for number in range(5000):
            await storage.acquire_entry(f"key{number}", 5, 60)
            if number % 50 == 0 and (await storage.get_moving_window("mine", 5, 60))[1] < 5:
                let_in += await storage.acquire_entry("mine", 5, 60)
        return let_in

    assert run(use()) == 5


def test_each_request_that_counts_keeps_its_window_in_a_flood():
    storage = BoundedMemory(Clock(), max_windows=100)

    async def use():
        for number in range(5000):
            await storage.acquire_entry(f"key{number}", 5, 60)
            if number % 50 == 0:
                await storage.acquire_entry("mine", 500, 60)
        return (await storage.get_moving_window("mine", 500, 60))[1]

    assert run(use()) == 100


def test_windows_that_are_over_go_as_others_come():
    clock = Clock()
    storage = BoundedMemory(clock)

    async def use():
        for number in range(500):
            await storage.acquire_entry(f"key{number}", 2, 60)
            await storage.acquire_sliding_window_entry(f"key{number}", 2, 60)
        clock.advance(150)
        for number in range(300):
            await storage.acquire_entry(f"new{number % 2}", 500, 60)
            await storage.acquire_sliding_window_entry(f"new{number % 2}", 500, 60)
        return len(storage)

    assert run(use()) == 4


def test_several_at_once_take_all_or_nothing():
    clock = Clock()
    storage = BoundedMemory(clock)

    async def use():
        assert await storage.acquire_entry("a", 3, 60, amount=2)
        assert not await storage.acquire_entry("a", 3, 60, amount=2)
        clock.advance(60)
        assert not await storage.acquire_entry("a", 1, 60, amount=2)
        assert await storage.acquire_entry("a", 3, 60, amount=3)
        assert await storage.get_moving_window("a", 3, 60) == (clock.now, 3)
        assert not await storage.acquire_sliding_window_entry("b", 3, 60, amount=4)
        await storage.clear("a")
        assert await storage.reset() == 0

    run(use())


class Store:
    """In place of windows in a Redis: answers, or does not."""

    def __init__(self) -> None:
        self.failure: Exception | None = None
        self.asked = 0
        self.hold: asyncio.Event | None = None

    async def count(self, *_: Any) -> Any:
        from onebox.services.access.limits.windows import Count

        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return Count(None, None, None)

    async def close(self) -> None:
        return


def shared(monkeypatch, **settings: Any) -> tuple[Limited, Store]:
    store = Store()
    open_it: Callable[..., Any] = lambda *_: store  # noqa: E731
    monkeypatch.setattr(limit_store.LimitStore, "_open", open_it)
    return Limited(limits="public", limits_url="redis://somewhere:6379", **settings), store


def down() -> Exception:
    from limits.errors import StorageError

    return StorageError(ConnectionError("redis://:secret@somewhere refused"))


def hit(limited: Limited) -> Awaitable[Any]:
    return limited.limits.hit(ME, None, "text")


@pytest.mark.parametrize("failure", [down(), OSError("no route"), TimeoutError()])
def test_a_store_that_is_down_lets_everybody_in_and_says_so_loudly_once(monkeypatch, failure):
    limited, store = shared(monkeypatch)
    store.failure = failure

    async def use():
        return [await hit(limited) for _ in range(5)]

    with capture_logs() as logs:
        assert all(counted.refused is None for counted in run(use()))
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("rate_limit_store_gives_no_answer", "error")
    ]
    assert "secret" not in str(logs)
    # Asked once; then it is left alone for a while.
    assert (store.asked, sample(limited.metrics, FAILURES)) == (1, 1)


def test_closed_refuses_meanwhile(monkeypatch):
    limited, store = shared(monkeypatch, limits_down="closed")
    store.failure = down()

    async def use():
        return [(await hit(limited)).refused for _ in range(2)]

    for error in run(use()):
        assert isinstance(error, BackendUnavailable)
        assert error.retry_after_s
        assert "redis" not in error.message.lower()


def test_it_counts_again_when_it_is_back(monkeypatch):
    limited, store = shared(monkeypatch)

    async def use():
        store.failure = down()
        await hit(limited)
        store.failure = None
        await hit(limited)
        assert store.asked == 1
        limited.clock.advance(PAUSE_S)
        await hit(limited)
        await hit(limited)

    with capture_logs() as logs:
        run(use())
    assert store.asked == 3
    assert logs[-1]["event"] == "rate_limits_counted_again"


def test_only_one_request_waits_to_find_out_whether_it_is_back(monkeypatch):
    limited, store = shared(monkeypatch)

    async def use():
        store.failure = down()
        await hit(limited)
        limited.clock.advance(PAUSE_S)
        store.hold = asyncio.Event()
        waits = asyncio.ensure_future(hit(limited))
        await asyncio.sleep(0)
        found = await asyncio.wait_for(hit(limited), 5)
        assert not waits.done()
        store.hold.set()
        await waits
        return found

    assert run(use()).refused is None
    assert store.asked == 2


def test_one_that_never_answers_is_not_waited_for(monkeypatch):
    limited, store = shared(monkeypatch)
    monkeypatch.setattr(limit_store, "TIMEOUT_S", 0.0)

    async def use():
        store.hold = asyncio.Event()
        return await asyncio.wait_for(hit(limited), 20)

    assert run(use()).refused is None
    assert sample(limited.metrics, FAILURES) == 1


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("localhost:6379", "does not begin with a scheme"),
        (":secret@localhost", "does not begin with a scheme"),
        ("memcached://:secret@localhost", "memcached"),
        ("redis://:secret@localhost:port", "redis://…"),
    ],
)
def test_a_wrong_url_is_refused_at_the_start_without_its_password(url, told):
    with pytest.raises(ConfigurationError, match="ONEBOX_LIMITS_URL") as error:
        Limited(limits_url=url)
    assert told in error.value.message
    assert "redis://host:6379/0" in error.value.message
    assert "secret" not in error.value.message


def test_without_its_package_the_start_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"onebox\[redis\]"):
        Limited(limits_url="redis://localhost:6379")


@pytest.mark.parametrize("url", ["memory://", "redis://h:1", "rediss://u:p%40@h:1/2", "unix:///s"])
def test_these_can_be_used_and_nothing_is_connected_yet(url):
    run(Limited(limits_url=url).limits.close())
