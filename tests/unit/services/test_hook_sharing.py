"""Calls that several wait for, and what they found."""

from __future__ import annotations

import asyncio

import pytest

from onebox.services.hooks.shared_calls import Memory, SharedCalls, TooManyCalls
from tests.unit.services.patience import Time


def test_what_was_found_is_forgotten_in_time():
    time = Time()
    memory: Memory[str, int] = Memory(10, 5, time.clock)
    memory.put("a", 1)
    time.now = 9.9
    assert memory.get("a") == 1
    # Looking does not make it younger.
    time.now = 10
    assert memory.get("a") is None


def test_the_longest_unused_is_forgotten_when_there_is_no_room():
    memory: Memory[str, int] = Memory(10, 2, Time().clock)
    memory.put("a", 1)
    memory.put("b", 2)
    memory.get("a")
    memory.put("c", 3)
    assert [memory.get(key) for key in "abc"] == [1, None, 3]


def test_nothing_is_kept_for_no_time():
    memory: Memory[str, int] = Memory(0, 2, Time().clock)
    memory.put("a", 1)
    assert memory.get("a") is None


def test_an_error_reaches_all_who_wait():
    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError

    async def run() -> list[object]:
        calls: SharedCalls[str, int] = SharedCalls(1)
        waiting = [calls.get("a", fail) for _ in range(3)]
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [type(found) for found in asyncio.run(run())] == [ValueError] * 3


def test_a_call_that_ended_makes_room_for_another():
    async def run() -> None:
        calls: SharedCalls[str, int] = SharedCalls(1)
        stuck, free = asyncio.Event(), asyncio.Event()

        async def wait() -> int:
            stuck.set()
            await free.wait()
            return 1

        first = asyncio.create_task(calls.get("a", wait))
        await stuck.wait()
        with pytest.raises(TooManyCalls):
            await calls.get("b", wait)
        free.set()
        assert await first == 1
        assert await calls.get("b", wait) == 1

    asyncio.run(run())


def test_a_call_that_nobody_waits_for_is_cancelled():
    async def run() -> None:
        calls: SharedCalls[str, int] = SharedCalls(1)
        begun, ended = asyncio.Event(), asyncio.Event()

        async def wait() -> int:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            return 1

        waiting = [asyncio.create_task(calls.get("a", wait)) for _ in range(2)]
        await begun.wait()
        waiting[0].cancel()
        await asyncio.wait({waiting[0]})
        assert not ended.is_set()
        waiting[1].cancel()
        await asyncio.wait({waiting[1]})
        await ended.wait()

    asyncio.run(run())
