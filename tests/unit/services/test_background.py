from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import QueueFull
from onebox.services.background import Background


class Work:
    """Goes on until it is cancelled."""

    def __init__(self, background: Background) -> None:
        self.background = background
        self.ended: list[bool] = []

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(self.background.was_cancelled("a"))


def test_a_cancel_waits_for_the_end():
    async def use():
        background = Background()
        work = Work(background)
        background.start("a", work.run())
        await asyncio.sleep(0)
        return await background.cancel("a"), work.ended, await background.cancel("a")

    assert asyncio.run(use()) == (True, [True], False)


def test_the_end_of_the_server_is_no_cancel():
    async def use():
        background = Background()
        work = Work(background)
        background.start("a", work.run())
        await asyncio.sleep(0)
        await background.close()
        return work.ended

    assert asyncio.run(use()) == [False]


def test_there_is_a_limit_that_finished_work_does_not_count_for():
    async def use():
        background = Background(limit=1)

        async def nothing() -> None:
            return

        background.start("a", Work(background).run())
        with pytest.raises(QueueFull, match="at most 1"):
            background.require_room()
        await asyncio.sleep(0)
        await background.cancel("a")
        background.require_room()
        background.start("b", nothing())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        background.require_room()

    asyncio.run(use())


def test_an_error_ends_only_its_own_work():
    async def use():
        background = Background()

        async def fail() -> None:
            raise ValueError

        background.start("a", fail())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert await background.cancel("a") is False

    asyncio.run(use())
