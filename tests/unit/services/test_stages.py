"""Requests that need other tasks before them, and for what came of them."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from onebox.core.contracts import Entry
from onebox.core.errors import (
    Cancelled,
    ConcurrencyLimited,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    TaskNotSupported,
)
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact
from onebox.core.stages import Stage
from onebox.runtime.wire import Cancel, Failed, Progress, Result, Started, Submit
from onebox.services.request import Outcome, Prepared
from tests.unit.runtime.clients import run
from tests.unit.services.kitchen import MODEL, FakeInput, FakeTask, Kitchen, until


class Staged(FakeTask):
    """Wants "fake" to run first, and for each of its artifacts that are text."""

    name = "staged"

    def before(self, request: FakeInput, entry: Entry) -> Stage | None:
        if request.text != "hello":
            return None
        return Stage("fake", FakeInput(text="first"), params={"text": "poem"})

    def joined(self, request: FakeInput, artifacts: Sequence[Artifact]) -> FakeInput:
        return request.model_copy(update={"text": (artifacts[0].data or b"").decode()})

    def after(self, request: FakeInput, artifact: Artifact) -> Stage | None:
        wanted = artifact.media_type == "text/plain"
        return (
            Stage("fake", FakeInput(text=f"then {(artifact.data or b'').decode()}"))
            if wanted
            else None
        )


@pytest.fixture(autouse=True)
def first_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TASKS._items, "fake", FakeTask())


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path, max_per_caller=1)


def staged(kitchen: Kitchen) -> Prepared:
    return dataclasses.replace(kitchen.prepared(), task=Staged())


def begun(kitchen: Kitchen) -> asyncio.Task[Outcome]:
    return asyncio.ensure_future(kitchen.inference.run(staged(kitchen)))


async def frame(kitchen: Kitchen, number: int) -> Submit:
    await until(lambda: len(kitchen.submits()) > number)
    return kitchen.submits()[number]


def text(data: bytes, **meta: object) -> Artifact:
    return Artifact("text/plain", data, None, dict(meta))


def test_what_came_before_is_part_of_the_request_and_what_comes_after_replaces_its_result(
    kitchen: Kitchen,
) -> None:
    async def scene() -> Outcome:
        task = begun(kitchen)
        first = await frame(kitchen, 0)
        assert (first.task, first.input["text"]) == ("fake", "first")
        kitchen.client.answer(Result(first.id, (text(b"cut"),)))
        second = await frame(kitchen, 1)
        assert (second.task, second.input["text"], second.caller) == ("staged", "cut", "key:1")
        assert second.timeout_s <= first.timeout_s
        drawn = (text(b"one", seed=1), Artifact("image/png", b"two"))
        kitchen.client.answer(Result(second.id, drawn))
        third = await frame(kitchen, 2)
        assert third.input["text"] == "then one"
        kitchen.client.answer(Result(third.id, (text(b"ONE", confidence=0.5),)))
        return await task

    outcome = run(scene())
    assert [artifact.data for artifact in outcome.artifacts] == [b"ONE", b"two"]
    assert outcome.artifacts[0].meta == {"seed": 1, "confidence": 0.5}
    assert kitchen.ends() == {"ok": 1}  # of each task
    assert kitchen.nothing_is_left()


def test_a_failure_before_ends_the_request_with_it(kitchen: Kitchen) -> None:
    async def scene() -> None:
        task = begun(kitchen)
        first = await frame(kitchen, 0)
        kitchen.client.answer(Failed(first.id, "inference_failed", "no cut"))
        with pytest.raises(InferenceFailed, match="no cut"):
            await task

    run(scene())
    assert len(kitchen.submits()) == 1
    assert kitchen.ends() == {"inference_failed": 1}  # of each task
    assert kitchen.nothing_is_left()


def test_what_a_part_finds_wrong_is_told_by_the_name_of_the_requests_own_field(
    kitchen: Kitchen,
) -> None:
    async def scene() -> None:
        task = begun(kitchen)
        first = await frame(kitchen, 0)
        kitchen.client.answer(Failed(first.id, "invalid_value", "no cat", param="text"))
        with pytest.raises(InvalidInput, match="no cat") as caught:
            await task
        assert caught.value.param == "poem"

    run(scene())


def test_a_companion_does_the_part_that_names_it(kitchen: Kitchen) -> None:
    class Finished(FakeTask):
        def after(self, request: FakeInput, artifact: Artifact) -> Stage | None:
            return Stage("fake", FakeInput(text="then"), companion="cutter")

    other = entry_with(name="cutter", key="cutter")
    whole = dataclasses.replace(kitchen.prepared(), task=Finished(), companions={"cutter": other})

    async def scene() -> None:
        task = asyncio.ensure_future(kitchen.inference.run(whole))
        for number in (0, 1):
            at_work = await frame(kitchen, number)
            kitchen.client.answer(Result(at_work.id, (text(b"x"),)))
        await task

    run(scene())
    assert [one.entry.name for one in kitchen.submits()] == [MODEL.name, "cutter"]


def test_no_model_for_what_comes_before_is_told_at_once(kitchen: Kitchen) -> None:
    kitchen.catalogue.entry = entry_with(tasks=("staged",))

    async def scene() -> None:
        with pytest.raises(TaskNotSupported):
            await begun(kitchen)

    run(scene())
    assert not kitchen.submits()
    assert kitchen.nothing_is_left()


def entry_with(**change: object) -> Entry:
    return msgspec.structs.replace(MODEL, **change)


@pytest.mark.parametrize("answered", [0, 1, 2])
def test_a_cancel_ends_whichever_stage_is_at_work(kitchen: Kitchen, answered: int) -> None:
    async def scene() -> None:
        task = begun(kitchen)
        for number in range(answered):
            await frame(kitchen, number)
            kitchen.client.answer(Result(kitchen.submits()[number].id, (text(b"x"),)))
        at_work = await frame(kitchen, answered)
        (running,) = kitchen.running
        kitchen.client.answer(Progress(at_work.id, 1, 2))
        assert running.step == 1
        running.cancel()
        await until(lambda: Cancel(at_work.id) in kitchen.client.sent)
        kitchen.client.answer(Failed(at_work.id, "cancelled", "cancelled"))
        with pytest.raises(Cancelled):
            await task

    run(scene())
    assert kitchen.nothing_is_left()


def test_a_stream_goes_through_the_same_stages(kitchen: Kitchen) -> None:
    async def scene() -> list[object]:
        async def collect() -> list[object]:
            return [event async for event in kitchen.inference.stream(staged(kitchen))]

        task = asyncio.ensure_future(collect())
        for number, data in enumerate((b"cut", b"drawn", b"after")):
            one = await frame(kitchen, number)
            kitchen.client.answer(Result(one.id, (text(data),)))
        return await task

    (outcome,) = run(scene())
    assert isinstance(outcome, Outcome)
    assert outcome.artifacts[0].data == b"after"
    assert kitchen.nothing_is_left()


@pytest.mark.parametrize("answered", [1, 2])
def test_nobody_takes_the_callers_place_between_two_parts(kitchen: Kitchen, answered: int) -> None:
    async def scene() -> None:
        task = begun(kitchen)
        for number in range(answered):
            at_work = await frame(kitchen, number)
            kitchen.client.answer(Started(at_work.id))
            if number == answered - 1:
                gate = hold_the_next(kitchen)
            kitchen.client.answer(Result(at_work.id, (text(b"x"),)))
        await until(lambda: gate.waited)
        with pytest.raises(ConcurrencyLimited):
            await kitchen.inference.run(kitchen.prepared("other"))
        gate.set()
        for number in range(answered, 3):
            at_work = await frame(kitchen, number)
            kitchen.client.answer(Result(at_work.id, (text(b"x"),)))
        await task

    run(scene())
    assert kitchen.nothing_is_left()


def test_what_was_admitted_is_not_refused_in_the_middle_when_the_queue_is_full(
    tmp_path: Path,
) -> None:
    kitchen = Kitchen(tmp_path, max_waiting=1)

    async def scene() -> None:
        task = begun(kitchen)
        at_work = await frame(kitchen, 0)
        kitchen.client.answer(Started(at_work.id))
        other = asyncio.ensure_future(kitchen.inference.run(kitchen.prepared("other")))
        await until(lambda: kitchen.admission.waiting() == 1)
        waiting = await frame(kitchen, 1)
        kitchen.client.answer(Result(at_work.id, (text(b"x"),)))
        for number in (2, 3):
            at_work = await frame(kitchen, number)
            kitchen.client.answer(Result(at_work.id, (text(b"x"),)))
        await task
        kitchen.client.answer(Result(waiting.id, ()))
        await other

    run(scene())
    assert kitchen.nothing_is_left()


def test_a_time_limit_is_told_as_it_was_set_for_the_whole(kitchen: Kitchen) -> None:
    async def scene() -> None:
        task = begun(kitchen)
        first = await frame(kitchen, 0)
        kitchen.client.answer(Result(first.id, (text(b"x"),)))
        second = await frame(kitchen, 1)
        late = Failed(second.id, "deadline_exceeded", "within 0.1 s", details={"timeout_s": 0.1})
        kitchen.client.answer(late)
        with pytest.raises(DeadlineExceeded, match=r"did not finish within 60 s") as caught:
            await task
        assert caught.value.details == {"timeout_s": 60.0}

    run(scene())


def test_each_part_counts_its_own_steps(kitchen: Kitchen) -> None:
    async def scene() -> None:
        task = begun(kitchen)
        first = await frame(kitchen, 0)
        kitchen.client.answer(Started(first.id), Progress(first.id, 1, 1))
        (running,) = kitchen.running
        assert (running.state, running.step) == ("running", 1)
        kitchen.client.answer(Result(first.id, (text(b"x"),)))
        second = await frame(kitchen, 1)
        assert (running.state, running.step, running.steps) == ("queued", 0, 0)
        running.cancel()
        kitchen.client.answer(Failed(second.id, "cancelled", "cancelled"))
        with pytest.raises(Cancelled):
            await task

    run(scene())


class Gate(asyncio.Event):
    """Holds the first who comes to it; others pass."""

    waited = False

    async def pass_by(self) -> None:
        if not self.waited:
            self.waited = True
            await self.wait()


def hold_the_next(kitchen: Kitchen) -> Gate:
    gate = Gate()
    kitchen.pool.on_place = gate.pass_by
    return gate
