"""The server's way out, with a clock and a pool of the tests' own."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from onebox.core.errors import ShuttingDown
from onebox.services.admission import Admission
from onebox.services.drain import Drain


class Clock:
    """Goes on by a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class Pool:
    def __init__(self, *pending: int) -> None:
        self.clients = [SimpleNamespace(pending=count) for count in pending]
        self.closed_with: list[float] = []

    async def close(self, grace_s: float) -> None:
        self.closed_with.append(grace_s)


@pytest.fixture
def admission() -> Admission:
    return Admission(max_waiting=9, max_waiting_per_model=9, max_per_caller=None)


def drain_of(admission: Admission, running: list, pool: Pool, clock=None) -> Drain:
    return Drain(admission, running, pool, clock=clock or Clock(), tick_s=0)


def test_with_nothing_to_do_the_workers_stop_at_once(admission):
    pool, clock = Pool(0), Clock()
    asyncio.run(drain_of(admission, [], pool, clock).finish(60))
    assert pool.closed_with == [0]
    assert clock.now == 1


@pytest.mark.parametrize("held", ["a request", "a load"])
def test_what_was_taken_may_end_before_the_workers_stop(admission, held):
    running = [held] if held == "a request" else []
    pool = Pool(1 if held == "a load" else 0)

    async def scene() -> None:
        drain = drain_of(admission, running, pool, clock=lambda: 0.0)
        finishing = asyncio.create_task(drain.finish(60))
        for _ in range(5):
            await asyncio.sleep(0)
        assert pool.closed_with == []
        running.clear()
        pool.clients[0].pending = 0
        await finishing
        assert pool.closed_with == [0]

    asyncio.run(scene())


def test_what_does_not_end_is_waited_for_no_longer_than_the_grace_time(admission):
    pool, clock = Pool(0), Clock()
    asyncio.run(drain_of(admission, ["for ever"], pool, clock).finish(7))
    assert pool.closed_with == [0]
    assert clock.now == 8


def test_new_work_is_refused_with_a_time_to_come_back(admission):
    held = admission.enter(0, "key", "model", "before")
    asyncio.run(drain_of(admission, [], Pool(0)).finish(1))
    with pytest.raises(ShuttingDown, match="shutting down") as refused:
        admission.enter(0, "key", "model", "after")
    assert refused.value.retry_after_s
    with pytest.raises(ShuttingDown), admission.lobby():
        pass
    # A further part of what was admitted before is not new.
    held.go_to(0, "other")


def test_load_balancers_have_their_time_and_new_work_still_comes_in(admission):
    clock = Clock()
    drain = drain_of(admission, [], Pool(0), clock)
    drain.begin()
    asyncio.run(drain.told(5))
    assert drain.begun
    assert clock.now >= 5
    admission.enter(0, "key", "model", "caller")


def test_a_second_signal_ends_every_waiting(admission):
    pool = Pool(0)
    drain = drain_of(admission, ["for ever"], pool, clock=lambda: 0.0)
    drain.begin()
    drain.begin()
    asyncio.run(drain.told(60))
    asyncio.run(drain.finish(60))
    assert pool.closed_with == [0]
