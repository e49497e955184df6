from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import ConcurrencyLimited, QueueFull, ShuttingDown
from onebox.services import live_sessions
from onebox.services.live_sessions import LiveSessions


def test_a_caller_may_have_so_many():
    sessions = LiveSessions(max_per_caller=1)
    with sessions.enter("a"), sessions.enter("b"):
        with pytest.raises(ConcurrencyLimited) as caught, sessions.enter("a"):
            pass
        assert caught.value.details == {"sessions": 1, "max": 1}
    with sessions.enter("a"):
        assert len(sessions) == 1


def test_all_together_may_have_so_many():
    sessions = LiveSessions(max_per_caller=None, max_sessions=2)
    with sessions.enter("a"), sessions.enter("a"):
        with pytest.raises(QueueFull) as caught, sessions.enter("b"):
            pass
        assert caught.value.retry_after_s
    assert len(sessions) == 0


def test_at_the_end_all_are_told_and_waited_for():
    async def run() -> list[str]:
        sessions, said = LiveSessions(max_per_caller=None), []

        async def talk() -> None:
            with sessions.enter("a") as session:
                await session.told_to_leave.wait()
                await asyncio.sleep(0)
                said.append("bye")

        talking = [asyncio.ensure_future(talk()) for _ in range(3)]
        await asyncio.sleep(0)
        await sessions.close()
        assert all(task.done() for task in talking)
        with pytest.raises(ShuttingDown), sessions.enter("a"):
            pass
        return said

    assert asyncio.run(run()) == ["bye"] * 3


def test_one_that_does_not_leave_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr(live_sessions, "LEAVE_S", 0)

    async def run() -> None:
        sessions = LiveSessions(max_per_caller=None)
        with sessions.enter("a"):
            await sessions.close()

    asyncio.run(run())
