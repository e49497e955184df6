"""Whether a worker is up, what it tells of itself, and the memory it claims."""

from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import ShuttingDown, WorkerLost, WorkerUnready
from onebox.runtime.wire import Claim, GaveUp, GiveUp, Grant, Heartbeat, Hello, Retire, Unfit
from onebox.runtime.worker_client import START_RETRY_S
from tests.unit.runtime.clients import (
    BUDGET,
    CPU,
    NotingClient,
    bundle,
    create_pools,
    run,
    run_jumping,
    stats,
)

HELLO = Hello(1, CPU, (CPU,), BUDGET, 1)


class TestState:
    @pytest.mark.parametrize("state", ["failed", "stopped"])
    def test_a_worker_that_cannot_come_up_is_not_waited_for(self, tmp_path, state):
        async def scene():
            with pytest.raises(WorkerUnready, match=f"it is {state}") as caught:
                await NotingClient(tmp_path, state=state).wait_ready(60)
            assert caught.value.retry_after_s

        run(scene())

    def test_a_worker_that_takes_too_long_is_said_to_be_starting(self, tmp_path):
        async def scene():
            with pytest.raises(WorkerUnready, match="starting"):
                await NotingClient(tmp_path, state="starting").wait_ready(60)

        run_jumping(scene())

    def test_who_waits_for_a_worker_goes_on_when_it_is_up(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path, state="starting")
            client.retry_after_s = 30.0
            waiting = asyncio.ensure_future(client.wait_ready(60))
            await asyncio.sleep(0)
            client._dispatch(HELLO)
            await waiting
            return client

        client = run(scene())
        assert (client.state, client.lives, client.hello) == ("ready", 1, HELLO)
        assert client.sent == [Grant(BUDGET, BUDGET)]
        assert client.retry_after_s == START_RETRY_S

    def test_who_waits_is_told_when_it_cannot_come_up(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path, state="starting")
            waiting = asyncio.ensure_future(client.wait_ready(60))
            await asyncio.sleep(0)
            client._dispatch(Unfit("invalid_value", "there is no cuda:9"))
            with pytest.raises(WorkerUnready, match="cuda:9"):
                await waiting
            return client.unfit

        assert run(scene()) == "there is no cuda:9"

    def test_a_worker_that_is_starting_again_is_waited_for_again(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path)
            client._set_state("starting", "it is being restarted")
            waiting = asyncio.ensure_future(client.wait_ready(60))
            await asyncio.sleep(0)
            assert not waiting.done()
            client._set_state("stopped", "shutting down")
            with pytest.raises(WorkerUnready, match="shutting down"):
                await waiting

        run(scene())


class TestHeartbeat:
    def test_it_is_remembered_with_its_time(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path)
            await asyncio.sleep(7)
            client._dispatch(Heartbeat(stats(bundle("a"))))
            return client

        client = run_jumping(scene())
        assert client.last_heard == pytest.approx(7)
        assert client.last_stats == stats(bundle("a"))
        assert client.sent == []

    def test_what_changed_on_disk_is_retired(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path, is_current=lambda key: key == "b")
            client._dispatch(Heartbeat(stats(*map(bundle, "abc"))))
            return client.sent

        assert run(scene()) == [Retire(("a", "c"))]


def test_memory_is_passed_from_one_worker_to_another(tmp_path):
    async def scene():
        pools = create_pools()
        holder = NotingClient(tmp_path, 0, pools=pools)
        claimer = NotingClient(tmp_path, 1, pools=pools)
        claimer._dispatch(Claim(40, evict=True))
        holder._dispatch(GaveUp(BUDGET - 40))
        return holder.sent, claimer.sent

    assert run(scene()) == ([GiveUp(40, evict=True)], [Grant(40, BUDGET)])


def test_a_worker_that_is_lost_while_memory_is_asked_of_it_is_no_trouble(tmp_path):
    async def scene():
        pools = create_pools()
        holder = NotingClient(tmp_path, 0, pools=pools)
        claimer = NotingClient(tmp_path, 1, pools=pools)
        holder.lost = WorkerLost("gone")
        claimer._dispatch(Claim(40, evict=True))
        holder._end_life(ShuttingDown("gone"))
        return claimer.sent

    assert run(scene()) == [Grant(40, BUDGET)]
