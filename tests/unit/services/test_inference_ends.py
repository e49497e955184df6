"""Requests that are cancelled, carry files or are streamed leave nothing behind either."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path

import pytest

from onebox.core.errors import Cancelled, OutOfMemory
from onebox.core.media import MediaRef
from onebox.core.results import Artifact
from onebox.runtime.wire import SPOOL_ABOVE_BYTES, Cancel, Failed, Progress, Result, Started
from onebox.services.request import Outcome
from tests.unit.runtime.clients import run
from tests.unit.services.kitchen import Kitchen, ended_with, sent, until

LARGE = b"x" * (SPOOL_ABOVE_BYTES + 1)
SMALL = b"x" * SPOOL_ABOVE_BYTES


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


class TestCancel:
    def test_at_the_worker_it_is_passed_on_and_the_worker_answers(self, kitchen):
        async def scene():
            (task,) = await sent(kitchen, kitchen.prepared())
            (running,) = kitchen.running
            running.cancel()
            assert kitchen.client.sent[-1] == Cancel("wire-1")
            assert not task.done()
            kitchen.client.answer(Failed("wire-1", "cancelled", "the request was cancelled"))
            with pytest.raises(Cancelled):
                await task

        run(scene())
        assert kitchen.ends() == {"cancelled": 1}
        assert kitchen.nothing_is_left()

    def test_before_it_is_there_it_never_gets_there(self, kitchen):
        async def cancel():
            (running,) = kitchen.running
            running.cancel()

        kitchen.pool.on_place = cancel
        with pytest.raises(Cancelled):
            run(kitchen.inference.run(kitchen.prepared(media=LARGE)))
        assert kitchen.client.sent == []
        assert kitchen.ends() == {"cancelled": 1}
        assert kitchen.nothing_is_left()

    def test_while_it_waits_for_a_worker_to_come_up_it_ends_at_once(self, kitchen):
        async def never_up():
            await asyncio.Event().wait()

        async def scene():
            kitchen.pool.is_up, kitchen.pool.on_place = False, never_up
            task = asyncio.ensure_future(kitchen.inference.run(kitchen.prepared(media=LARGE)))
            while not kitchen.pool.timeouts:
                await asyncio.sleep(0)
            (running,) = kitchen.running
            running.cancel()
            with pytest.raises(Cancelled):
                await task

        run(scene())
        assert kitchen.client.sent == []
        assert kitchen.ends() == {"cancelled": 1}
        assert kitchen.nothing_is_left()

    @pytest.mark.parametrize("started", [True, False])
    def test_a_client_that_goes_away_cancels(self, kitchen, started):
        async def scene():
            (task,) = await sent(kitchen, kitchen.prepared(media=LARGE))
            if started:
                kitchen.client.answer(Started("wire-1"))
            task.cancel()
            await asyncio.wait([task])

        run(scene())
        assert kitchen.client.sent[-1] == Cancel("wire-1")
        assert kitchen.ends() == {"cancelled": 1}
        assert kitchen.nothing_is_left()

    def test_one_that_goes_away_while_it_is_placed_leaves_nothing(self, kitchen):
        async def scene():
            kitchen.pool.on_place = asyncio.Event().wait
            task = asyncio.ensure_future(kitchen.inference.run(kitchen.prepared()))
            await until(lambda: kitchen.pool.timeouts)
            task.cancel()
            await asyncio.wait([task])

        run(scene())
        assert kitchen.client.sent == []
        assert kitchen.nothing_is_left()


class TestFiles:
    def test_only_large_parts_go_through_the_spool_and_are_gone_afterwards(self, kitchen):
        async def scene():
            (task,) = await sent(kitchen, kitchen.prepared(media=LARGE, mask=SMALL))
            (frame,) = kitchen.submits()
            assert frame.input["mask"].data == SMALL
            assert frame.input["media"].data is None
            file_id = frame.input["media"].file_id
            assert kitchen.client.spool.read(file_id) == LARGE
            kitchen.client.answer(Result("wire-1"))
            return await task

        outcome = run(scene())
        assert outcome.prepared.input.media == MediaRef(data=LARGE)
        assert kitchen.nothing_is_left()

    def test_a_client_that_goes_away_while_its_file_is_written_leaves_none(self, kitchen):
        may_write = threading.Event()
        write = kitchen.client.spool.put

        def put_slowly(data: bytes) -> str:
            may_write.wait(60)
            return write(data)

        kitchen.client.spool.put = put_slowly

        async def scene():
            task = asyncio.ensure_future(kitchen.inference.run(kitchen.prepared(media=LARGE)))
            await until(lambda: kitchen.admission.waiting() == 1)
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            may_write.set()
            await asyncio.wait([task])
            assert task.cancelled()

        run(scene())
        assert kitchen.client.sent == []
        assert kitchen.nothing_is_left()

    def test_large_results_are_taken_out_of_the_spool(self, kitchen):
        put = kitchen.client.spool.put
        artifacts = tuple(
            Artifact("image/png", None, put(data), {"seed": seed})
            for seed, data in enumerate([b"one", b"two"])
        )
        result = Result("wire-1", (*artifacts, Artifact("image/png", b"three")))
        outcome = run(ended_with(kitchen, result))
        assert [one.data for one in outcome.artifacts] == [b"one", b"two", b"three"]
        assert [one.meta for one in outcome.artifacts] == [{"seed": 0}, {"seed": 1}, {}]
        assert kitchen.nothing_is_left()

    def test_a_client_that_goes_away_while_they_are_read_leaves_none(self, kitchen):
        may_read, reads = threading.Event(), threading.Event()
        read = kitchen.client.spool.take

        def take_slowly(spool_id: str) -> bytes:
            reads.set()
            may_read.wait(60)
            return read(spool_id)

        put = kitchen.client.spool.put
        result = Result("wire-1", tuple(Artifact("image/png", None, put(b"x")) for _ in "123"))
        kitchen.client.spool.take = take_slowly

        async def scene():
            (task,) = await sent(kitchen, kitchen.prepared())
            kitchen.client.answer(result)
            await asyncio.to_thread(reads.wait, 10)
            task.cancel()
            await asyncio.wait([task])
            may_read.set()
            await until(lambda: not kitchen.files())

        run(scene())
        assert kitchen.nothing_is_left()


class TestStream:
    def test_events_come_as_they_are_and_then_the_outcome(self, kitchen):
        async def scene():
            events = kitchen.inference.stream(kitchen.prepared())
            async with contextlib.aclosing(events):
                first = asyncio.ensure_future(anext(events))
                await until(kitchen.submits)
                kitchen.client.answer(Started("wire-1"), Progress("wire-1", 1, 1))
                kitchen.client.answer(Result("wire-1", (Artifact("text/plain", b"hi"),)))
                return [await first, *[event async for event in events]]

        started, progress, outcome = run(scene())
        assert (started, progress) == (Started("wire-1"), Progress("wire-1", 1, 1))
        assert outcome.artifacts[0].data == b"hi"
        assert kitchen.ends() == {"ok": 1}
        assert kitchen.nothing_is_left()

    def test_it_has_ended_when_the_outcome_is_read_however_slowly(self, kitchen):
        async def scene():
            async with contextlib.aclosing(kitchen.inference.stream(kitchen.prepared())) as events:
                first = asyncio.ensure_future(anext(events))
                await until(kitchen.submits)
                kitchen.client.answer(Result("wire-1"))
                assert isinstance(await first, Outcome)
                assert kitchen.nothing_is_left()

        run(scene())
        assert kitchen.ends() == {"ok": 1}

    def test_leaving_early_cancels(self, kitchen):
        async def scene():
            events = kitchen.inference.stream(kitchen.prepared(media=LARGE))
            async with contextlib.aclosing(events):
                first = asyncio.ensure_future(anext(events))
                await until(kitchen.submits)
                kitchen.client.answer(Started("wire-1"))
                await first

        run(scene())
        assert kitchen.client.sent[-1] == Cancel("wire-1")
        assert kitchen.ends() == {"cancelled": 1}
        assert kitchen.nothing_is_left()

    def test_its_error_is_raised(self, kitchen):
        async def scene():
            async with contextlib.aclosing(kitchen.inference.stream(kitchen.prepared())) as events:
                first = asyncio.ensure_future(anext(events))
                await until(kitchen.submits)
                kitchen.client.answer(Started("wire-1"))
                await first
                kitchen.client.answer(Failed("wire-1", "insufficient_memory", "none left"))
                with pytest.raises(OutOfMemory) as caught:
                    await anext(events)
                return caught.value

        assert run(scene()).retry_after_s >= 1
        assert kitchen.ends() == {"insufficient_memory": 1}
        assert kitchen.nothing_is_left()
