from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import DeadlineExceeded, WorkerLost
from onebox.core.results import Artifact
from onebox.runtime.wire import (
    Cancel,
    Failed,
    Hello,
    Load,
    Progress,
    Result,
    Started,
    Stats,
    Unload,
)
from onebox.runtime.worker_client import OVERDUE_MARGIN_S, STATS_S
from tests.unit.runtime.clients import (
    BUDGET,
    CPU,
    NotingClient,
    bundle,
    create_pools,
    entry,
    run,
    run_jumping,
    submit,
)

HELLO = Hello(1, CPU, (CPU,), BUDGET, 1)


async def events_of(exchange):
    async with exchange:
        return [event async for event in exchange]


def test_each_request_gets_its_own_events_and_ends_with_its_answer(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        one, two = (client.submit(submit(name)) for name in "12")
        client.answer(Started("2"), Started("1"), Progress("1", 1, 2), Result("2"))
        client.answer(Failed("1", "queue_full", "full"), Progress("1", 2, 2), Result("3"))
        return client, await events_of(one), await events_of(two)

    client, one, two = run(scene())
    assert one == [Started("1"), Progress("1", 1, 2), Failed("1", "queue_full", "full")]
    assert two == [Started("2"), Result("2")]
    assert client.sent == [submit("1"), submit("2")]
    assert client.pending == 0


def test_leaving_early_cancels_that_request_and_no_other(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        other = client.submit(submit("2"))
        async with client.submit(submit("1")):
            pass
        assert (client.sent[-1], client.pending) == (Cancel("1"), 1)
        client.answer(Result("2"))
        return await events_of(other)

    assert run(scene()) == [Result("2")]


def test_leaving_after_the_answer_cancels_nothing(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        async with client.submit(submit("1")):
            client.answer(Result("1"))
        return client.sent

    assert run(scene()) == [submit("1")]


def test_a_client_whose_task_is_cancelled_has_left(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        waiting = asyncio.ensure_future(events_of(client.submit(submit("1"))))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        return client

    client = run(scene())
    assert (client.sent[-1], client.pending) == (Cancel("1"), 0)


def test_leaving_when_the_worker_is_lost_is_quiet(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        async with client.submit(submit("1")):
            client.lost = WorkerLost("gone")
        return client.pending

    assert run(scene()) == 0


@pytest.mark.parametrize("leaves_first", [True, False])
def test_a_result_that_nobody_takes_leaves_no_file(tmp_path, leaves_first):
    async def scene():
        client = NotingClient(tmp_path)
        spool_id = client.spool.put(b"picture")
        late = Result("1", (Artifact("image/png", None, spool_id), Artifact("image/png", b"x")))
        async with client.submit(submit("1")):
            if not leaves_first:
                client.answer(late)
        if leaves_first:
            client.answer(late)

    run(scene())
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_comes_after_its_time_leaves_no_file(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        late = Result("1", (Artifact("image/png", None, client.spool.put(b"picture")),))
        async with client.submit(submit("1", timeout_s=-60)) as exchange:
            client._fail_overdue()
            client.answer(late)
            assert isinstance(await anext(exchange), Failed)

    run(scene())
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_is_taken_keeps_its_file(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        spool_id = client.spool.put(b"picture")
        exchange = client.submit(submit("1"))
        client.answer(Result("1", (Artifact("image/png", None, spool_id),)))
        await events_of(exchange)
        return client.spool.take(spool_id)

    assert run(scene()) == b"picture"


def test_the_end_of_a_life_answers_everyone_and_frees_its_memory(tmp_path):
    async def scene():
        pools = create_pools()
        client = NotingClient(tmp_path, pools=pools)
        assert pools.share_of(client) == BUDGET
        client.has(bundle("a"))
        exchanges = [client.submit(submit(name, timeout_s=-60)) for name in "123"]
        exchanges.append(client.submit(Stats("4")))
        client.answer(Result("3"))
        client._end_life(WorkerLost("it died", retry_after_s=2))
        assert (pools.share_of(client), client.last_stats) == (0, None)
        assert client._fail_overdue() == 0
        return [await events_of(exchange) for exchange in exchanges]

    one, two, three, four = run(scene())
    assert three == [Result("3")]
    for events in (one, two, four):
        (end,) = events
        assert isinstance(end.to_error(), WorkerLost)
        assert end.retry_after_s == 2


def test_a_request_that_cannot_be_sent_fails_at_once_and_leaves_nothing(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        client.lost = WorkerLost("gone")
        with pytest.raises(WorkerLost):
            client.submit(submit("1", timeout_s=-60))
        return client.pending, client._fail_overdue()

    assert run(scene()) == (0, 0)


def test_an_id_that_is_taken_is_refused(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        first = client.submit(submit("1"))
        with pytest.raises(ValueError, match="taken"):
            client.submit(submit("1"))
        client.answer(Result("1"))
        return await events_of(first)

    assert run(scene()) == [Result("1")]


def test_who_is_at_the_worker_is_known_by_checkpoint(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        client.submit(submit("1", "a"))
        client.submit(Load("2", entry("b"), "key:1", 9, 1))
        client.submit(Unload("3", "c", 1))
        return client.pending, client.pending_keys()

    assert run(scene()) == (3, ["a", "b"])


def test_a_cancel_is_sent_and_a_lost_worker_needs_none(tmp_path):
    async def scene():
        client = NotingClient(tmp_path)
        client.cancel("1")
        client.lost = WorkerLost("gone")
        client.cancel("2")
        return client.sent

    assert run(scene()) == [Cancel("1")]


class TestOverdue:
    def test_a_request_is_answered_for_a_worker_that_does_not(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path)
            late, early = client.submit(submit("1", timeout_s=9)), client.submit(submit("2"))
            client.answer(Result("2"))
            await asyncio.sleep(9 + OVERDUE_MARGIN_S)
            assert client._fail_overdue() == 0
            await asyncio.sleep(5)
            owed_s = client._fail_overdue()
            return client, owed_s, await events_of(late), await events_of(early)

        client, owed_s, late, early = run_jumping(scene())
        assert owed_s == pytest.approx(5)
        assert isinstance(late[-1].to_error(), DeadlineExceeded)
        assert early == [Result("2")]
        assert client.sent[2:] == [Cancel("1")]

    def test_it_is_owed_until_the_worker_answers(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path)
            exchange = client.submit(submit("1", timeout_s=0))
            await asyncio.sleep(OVERDUE_MARGIN_S + 5)
            owed = [client._fail_overdue()]
            await events_of(exchange)
            await asyncio.sleep(5)
            owed.append(client._fail_overdue())
            client.answer(Failed("1", "cancelled", "it was cancelled"))
            owed.append(client._fail_overdue())
            return owed, client.sent

        owed, sent = run_jumping(scene())
        assert owed == [pytest.approx(5), pytest.approx(10), 0]
        assert sent.count(Cancel("1")) == 1

    def test_so_is_one_whose_client_has_left(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path)
            async with client.submit(submit("1", timeout_s=0)):
                pass
            await asyncio.sleep(OVERDUE_MARGIN_S + 5)
            return client._fail_overdue()

        assert run_jumping(scene()) == pytest.approx(5)

    def test_one_that_is_cancelled_is_owed_from_then_on(self, tmp_path):
        async def scene():
            client = NotingClient(tmp_path)
            exchange = client.submit(submit("1", timeout_s=10_000))
            client.cancel("1")
            await asyncio.sleep(OVERDUE_MARGIN_S + 5)
            return client._fail_overdue(), await events_of(exchange)

        owed, events = run_jumping(scene())
        assert owed == pytest.approx(5)
        assert [event.code for event in events] == ["cancelled"]

    @pytest.mark.parametrize(
        ("frame", "limit_s"), [(Unload("1", "a", 5), 5), (Stats("1"), STATS_S)]
    )
    def test_unloads_and_questions_have_bounds_too(self, tmp_path, frame, limit_s):
        async def scene():
            client = NotingClient(tmp_path)
            client.submit(frame)
            await asyncio.sleep(limit_s + OVERDUE_MARGIN_S - 1)
            before = client._fail_overdue()
            await asyncio.sleep(2)
            return before, client._fail_overdue()

        assert run_jumping(scene()) == (0, 1)
