"""A worker process's lives: how they begin and end, and what comes after. The process is a fake."""

from __future__ import annotations

import asyncio
import signal

import pytest

from onebox.core.errors import ShuttingDown, WorkerLost, WorkerUnready
from onebox.runtime.process_client import EXIT_MARGIN_S
from onebox.runtime.wire import Result, Shutdown, Unfit
from tests.unit.runtime.clients import run_jumping, submit
from tests.unit.runtime.stage import HELLO, START, Stage, end_of, play, settle


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


def test_a_worker_is_told_what_it_is_and_is_ready_when_it_says_hello(stage):
    async def scene():
        await stage.client.start()
        await settle()
        assert stage.client.state == "starting"
        with pytest.raises(WorkerUnready):
            await stage.client.wait_ready(5)
        stage.process.say(HELLO)
        await stage.client.wait_ready(0)
        assert stage.process.sent[0] == START
        assert stage.process.environment["ONEBOX_LOG_LEVEL"] == "ERROR"
        assert stage.process.environment["ONEBOX_LOG_FORMAT"] == "json"

    play(stage, scene())


@pytest.mark.parametrize(
    ("returncode", "cause"),
    [(3, "exit status 3"), (-signal.SIGTERM, "signal SIGTERM"), (-999, "signal 999")],
)
def test_when_it_ends_its_requests_are_told_why_and_another_comes(stage, returncode, cause):
    async def scene():
        client = await stage.up()
        exchange = client.submit(submit("1"))
        stage.process.end(returncode)
        error = (await end_of(exchange)).to_error()
        assert isinstance(error, WorkerLost)
        assert cause in error.message
        assert error.retry_after_s
        assert client.state == "starting"
        await asyncio.sleep(1)
        stage.process.say(HELLO)
        assert (client.state, client.lives, len(stage.processes)) == ("ready", 2, 2)

    play(stage, scene())


def test_nothing_can_be_sent_between_two_lives(stage):
    async def scene():
        client = await stage.up()
        stage.process.end(1)
        await settle()
        with pytest.raises(WorkerLost):
            client.submit(submit("1"))
        assert client.pending == 0

    play(stage, scene())


def test_the_rests_between_failures_get_longer(stage):
    async def scene():
        await stage.up()
        await stage.fail(4)

    play(stage, scene())
    first, *others = stage.spawned_at
    rests = [b - a for a, b in zip([first, *others], others, strict=False)]
    assert rests == pytest.approx([0.5, 1, 2, 4], abs=0.5)
    assert rests == sorted(rests)


def test_after_many_failures_requests_are_refused_until_it_is_up(stage):
    async def scene():
        client = await stage.up()
        await stage.fail(2)
        assert client.state == "starting"
        await stage.fail(1)
        assert client.state == "failed"
        assert "ended 3 times in a row (exit status 1)" in client.reason
        with pytest.raises(WorkerUnready, match="tried again every 2 s") as caught:
            await client.wait_ready(60)
        assert caught.value.retry_after_s == 2
        stage.process.say(HELLO)
        await client.wait_ready(0)

    play(stage, scene())


def test_a_process_that_cannot_be_started_is_tried_again(stage):
    async def scene():
        stage.refusals = [OSError("no memory"), OSError("no memory"), OSError("no memory")]
        await stage.client.start()
        await asyncio.sleep(2)
        assert stage.client.state == "failed"
        assert "no memory" in stage.client.reason
        await asyncio.sleep(2)
        stage.process.say(HELLO)
        assert stage.client.state == "ready"

    play(stage, scene())


def test_a_worker_that_says_why_it_cannot_start_is_quoted_and_tried_again(stage):
    async def scene():
        await stage.client.start()
        await settle()
        for _ in range(5):
            count = len(stage.processes)
            stage.process.say(Unfit("invalid_value", "there is no cuda:9"))
            stage.process.end(0)
            while len(stage.processes) == count:
                await asyncio.sleep(0.25)
            assert stage.client.state == "failed"
            assert stage.client.reason == "there is no cuda:9"
        stage.process.say(HELLO)
        assert stage.client.state == "ready"
        assert stage.client.unfit is None

    play(stage, scene())


class TestClosing:
    def test_what_runs_has_the_grace_time_and_is_answered_by_the_worker(self, stage):
        async def scene():
            client = await stage.up()
            exchange = client.submit(submit("1"))
            closing = asyncio.ensure_future(client.close(7))
            await settle()
            assert stage.process.sent[-1] == Shutdown(7)
            stage.process.say(Result("1"))
            stage.process.end(0)
            await closing
            assert await end_of(exchange) == Result("1")
            assert (client.state, len(stage.processes)) == ("stopped", 1)

        play(stage, scene())

    def test_a_worker_that_does_not_end_in_time_is_killed(self, stage):
        async def scene():
            client = await stage.up()
            exchange = client.submit(submit("1", timeout_s=10_000))
            before = asyncio.get_running_loop().time()
            await client.close(7)
            assert asyncio.get_running_loop().time() - before == pytest.approx(7 + EXIT_MARGIN_S)
            assert stage.process.killed
            assert isinstance((await end_of(exchange)).to_error(), ShuttingDown)

        play(stage, scene())

    def test_one_that_is_still_starting_is_not_waited_for(self, stage):
        async def scene():
            await stage.client.start()
            await settle()
            before = asyncio.get_running_loop().time()
            await stage.client.close(7)
            assert asyncio.get_running_loop().time() == before
            assert stage.process.killed
            assert len(stage.processes) == 1

        play(stage, scene())

    def test_one_that_rests_is_not_started_again(self, stage):
        async def scene():
            client = await stage.up()
            stage.process.end(1)
            await settle()
            await client.close(7)
            await asyncio.sleep(100)
            assert len(stage.processes) == 1
            assert client.state == "stopped"

        play(stage, scene())

    def test_one_that_was_never_started_can_be_closed(self, stage):
        run_jumping(stage.client.close(7))
        assert stage.client.state == "stopped"
