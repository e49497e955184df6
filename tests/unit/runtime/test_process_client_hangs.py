"""When a worker process is killed because it hangs, and restarted because it wishes it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from onebox.core.errors import DeadlineExceeded
from onebox.runtime.process_client import EXIT_MARGIN_S, SILENT_S, START_S
from onebox.runtime.wire import Failed, Heartbeat, Result, Shutdown, Started
from onebox.runtime.worker_client import OVERDUE_MARGIN_S
from tests.unit.runtime.clients import bundle, stats, submit
from tests.unit.runtime.stage import HANG_S, HELLO, Stage, end_of, play, settle


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


class TestHangs:
    @pytest.mark.parametrize(
        ("owed_s", "silent_s", "state", "expected"),
        [
            (0, 0, "ready", None),
            (0, HANG_S - 1, "ready", None),
            (0, HANG_S, "ready", "no sign of life for 60 s"),
            (1, SILENT_S - 1, "ready", None),
            (1, SILENT_S, "ready", "no sign of life for 10 s"),
            (1, SILENT_S, "loading", "no sign of life for 10 s"),
            (HANG_S - 1, 0, "ready", None),
            (HANG_S, 0, "ready", "a request did not stop for 60 s"),
            (HANG_S, 0, "loading", None),
            (10 * HANG_S - 1, 0, "loading", None),
            (10 * HANG_S, 0, "loading", "a request did not stop for 600 s"),
        ],
    )
    def test_when_it_is_one(self, stage, owed_s, silent_s, state, expected):
        stage.client.last_stats = stats(bundle("a"), bundle("b", state=state))
        assert stage.client._failure(owed_s, silent_s, late=False) == expected

    def test_a_worker_that_never_told_its_state_can_hang_too(self, stage):
        assert stage.client._failure(HANG_S, 0, late=False)

    def test_a_worker_that_falls_silent_is_killed(self, stage):
        async def scene():
            client = await stage.up()
            first = stage.process
            exchange = client.submit(submit("1", timeout_s=10_000))
            await asyncio.sleep(HANG_S - 2)
            assert not first.killed
            await asyncio.sleep(4)
            assert first.killed
            end = await end_of(exchange)
            assert "no sign of life for 60 s" in end.message

        play(stage, scene())

    def test_heartbeats_keep_it_alive(self, stage):
        async def scene():
            await stage.up()
            await stage.beat(3 * HANG_S)
            assert not stage.process.killed

        play(stage, scene())

    def test_a_worker_that_is_starting_may_be_silent_for_long_but_not_for_ever(self, stage):
        async def scene():
            await stage.client.start()
            await asyncio.sleep(START_S)
            first = stage.process
            assert not first.killed
            await asyncio.sleep(3)
            assert first.killed

        play(stage, scene())

    def test_a_worker_whose_device_failed_is_killed(self, stage):
        async def scene():
            client = await stage.up()
            first = stage.process
            exchange = client.submit(submit("1", timeout_s=10_000))
            failed = msgspec.structs.replace(stats(), failure="the device cuda:0 failed")
            first.say(Heartbeat(failed))
            await asyncio.sleep(2)
            assert first.killed
            assert "the device cuda:0 failed" in (await end_of(exchange)).message

        play(stage, scene())

    def test_a_request_that_does_not_stop_is_answered_and_then_ends_the_worker(self, stage):
        async def scene():
            client = await stage.up()
            first = stage.process
            exchange = client.submit(submit("1", timeout_s=5))
            other = client.submit(submit("2", timeout_s=10_000))
            await stage.beat(5 + OVERDUE_MARGIN_S + 3)
            assert isinstance((await end_of(exchange)).to_error(), DeadlineExceeded)
            assert not first.killed
            await stage.beat(HANG_S)
            assert first.killed
            assert "a request did not stop for" in (await end_of(other)).message

        play(stage, scene())

    def test_a_worker_that_answers_in_the_end_is_left_alone(self, stage):
        async def scene():
            client = await stage.up()
            exchange = client.submit(submit("1", timeout_s=5))
            await stage.beat(5 + OVERDUE_MARGIN_S + 3)
            await end_of(exchange)
            stage.process.say(Failed("1", "cancelled", "it was cancelled"))
            await stage.beat(2 * HANG_S)
            assert not stage.process.killed

        play(stage, scene())


class TestRecycling:
    def test_a_worker_that_wishes_it_is_restarted_at_once(self, stage):
        async def scene():
            client = await stage.up()
            first = stage.process
            await stage.beat(2, wants_restart="100 bytes leaked")
            assert first.sent[-1] == Shutdown(0)
            assert (client.state, first.killed) == ("starting", False)
            before = asyncio.get_running_loop().time()
            first.end(0)
            await settle()
            assert asyncio.get_running_loop().time() == before
            assert len(stage.processes) == 2
            stage.process.say(HELLO)
            assert client.state == "ready"

        play(stage, scene())

    def test_not_while_it_has_a_request(self, stage):
        async def scene():
            client = await stage.up()
            exchange = client.submit(submit("1", timeout_s=10_000))
            stage.process.say(Started("1"))
            await stage.beat(10, wants_restart="100 bytes leaked")
            assert Shutdown(0) not in stage.process.sent
            stage.process.say(Result("1"))
            assert await end_of(exchange) == Result("1")
            await stage.beat(2, wants_restart="100 bytes leaked")
            assert stage.process.sent[-1] == Shutdown(0)
            assert client.state == "starting"

        play(stage, scene())

    def test_it_is_no_failure(self, stage):
        async def scene():
            client = await stage.up()
            for _ in range(5):
                await stage.beat(2, wants_restart="100 bytes leaked")
                stage.process.end(0)
                await settle()
                stage.process.say(HELLO)
            assert client.state == "ready"
            stage.process.end(1)
            await settle()
            count = len(stage.processes)
            await asyncio.sleep(0.6)  # the rest after a first failure
            assert len(stage.processes) == count + 1

        play(stage, scene())

    def test_a_worker_that_does_not_go_is_killed(self, stage):
        async def scene():
            await stage.up()
            first = stage.process
            await stage.beat(2, wants_restart="100 bytes leaked")
            await asyncio.sleep(EXIT_MARGIN_S - 2)
            assert not first.killed
            await asyncio.sleep(4)
            assert first.killed
            assert len(stage.processes) == 2

        play(stage, scene())
