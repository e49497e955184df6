from __future__ import annotations

import asyncio
import contextlib

import pytest

from onebox.core.errors import WorkerLost, WorkerUnready
from onebox.core.results import Artifact
from onebox.runtime.wire import Accepted, Cancel, Failed, Progress, Result
from tests.unit.runtime.fakes import NotingClient, submit

BOUND_S = 10


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, BOUND_S))


async def collected(client, request_id):
    async with contextlib.aclosing(client.submit(submit(request_id))) as events:
        return [event async for event in events]


async def until_sent(client, count):
    while len(client.sent) < count:
        await asyncio.sleep(0)


def test_each_request_gets_its_own_events_and_ends_with_its_answer(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        one, two = (asyncio.ensure_future(collected(client, name)) for name in ("1", "2"))
        await until_sent(client, 2)
        client.answer(Accepted("2"), Accepted("1"), Progress("1", 1, 2), Result("2"))
        client.answer(Failed("1", "queue_full", "full"), Progress("1", 2, 2))
        return client, await one, await two

    client, one, two = run(scene())
    assert one == [Accepted("1"), Progress("1", 1, 2), Failed("1", "queue_full", "full")]
    assert two == [Accepted("2"), Result("2")]
    assert client.sent == [submit("1"), submit("2")]
    assert client.pending == 0


def test_leaving_early_cancels_that_request_and_no_other(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        other = asyncio.ensure_future(collected(client, "2"))
        await until_sent(client, 1)
        async with contextlib.aclosing(client.submit(submit("1"))) as events:
            client_answers = asyncio.ensure_future(anext(events))
            await until_sent(client, 2)
            client.answer(Accepted("1"))
            await client_answers
        assert (client.sent[-1], client.pending) == (Cancel("1"), 1)
        client.answer(Result("2"))
        return await other

    assert run(scene()) == [Result("2")]


def test_leaving_when_the_worker_is_lost_is_quiet(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        async with contextlib.aclosing(client.submit(submit("1"))) as events:
            first = asyncio.ensure_future(anext(events))
            await until_sent(client, 1)
            client.answer(Accepted("1"))
            await first
            client.lost = WorkerLost("gone")
        return client.pending

    assert run(scene()) == 0


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_result_that_nobody_takes_leaves_no_file(tmp_path, leaves_first):
    async def scene():
        client = NotingClient(tmp_path)
        spool_id = client.spool.put(b"picture")
        late = Result("1", (Artifact("image/png", None, spool_id), Artifact("image/png", b"x")))
        async with contextlib.aclosing(client.submit(submit("1"))) as events:
            first = asyncio.ensure_future(anext(events))
            await until_sent(client, 1)
            client.answer(Accepted("1"))
            await first
            if not leaves_first:
                client.answer(late)
        if leaves_first:
            client.answer(late)

    run(scene())
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_is_taken_keeps_its_file(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        spool_id = client.spool.put(b"picture")
        answer = asyncio.ensure_future(collected(client, "1"))
        await until_sent(client, 1)
        client.answer(Result("1", (Artifact("image/png", None, spool_id),)))
        await answer
        return client.spool.take(spool_id)

    assert run(scene()) == b"picture"


def test_a_lost_worker_answers_everyone(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        waiting = [asyncio.ensure_future(collected(client, name)) for name in "123"]
        await until_sent(client, 3)
        client._fail_pending(WorkerLost("it died", retry_after_s=2))
        return await asyncio.gather(*waiting)

    answers = run(scene())
    assert [type(events[-1].to_error()) for events in answers] == [WorkerLost] * 3
    assert [events[-1].retry_after_s for events in answers] == [2, 2, 2]


def test_a_request_that_cannot_be_sent_fails_at_once(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        client.lost = WorkerLost("gone")
        with pytest.raises(WorkerLost):
            await collected(client, "1")
        return client.pending

    assert run(scene()) == 0


def test_an_id_that_is_taken_is_refused(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        first = asyncio.ensure_future(collected(client, "1"))
        await until_sent(client, 1)
        with pytest.raises(ValueError, match="taken"):
            await collected(client, "1")
        client.answer(Result("1"))
        return await first

    assert run(scene()) == [Result("1")]


@pytest.mark.parametrize("state", ["failed", "stopped"])
def test_a_worker_that_cannot_come_up_is_not_waited_for(tmp_path, state):
    async def scene():
        with pytest.raises(WorkerUnready, match=f"it is {state}") as caught:
            await NotingClient(tmp_path, state=state).wait_ready(60)
        assert caught.value.retry_after_s

    run(scene())


def test_a_worker_that_takes_too_long_is_said_to_be_starting(tmp_path):
    async def scene():
        with pytest.raises(WorkerUnready, match="starting"):
            await NotingClient(tmp_path, state="starting").wait_ready(0)

    run(scene())


def test_who_waits_for_a_worker_goes_on_when_it_is_up(tmp_path):
    async def scene():
        client = NotingClient(tmp_path, state="starting")
        waiting = asyncio.ensure_future(client.wait_ready(60))
        await asyncio.sleep(0)
        client._on_hello(NotingClient(tmp_path).hello)
        await waiting
        return client.state

    assert run(scene()) == "ready"
