"""A request's way through the gateway. However it ends, it leaves nothing behind."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from onebox.core.errors import (
    DeadlineExceeded,
    InferenceFailed,
    ModelBroken,
    OutOfMemory,
    QueueFull,
    RequestIdTaken,
    TaskNotSupported,
    WorkerLost,
    WorkerUnready,
)
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact, Timing
from onebox.runtime.wire import SPOOL_ABOVE_BYTES, Failed, Loading, Progress, Result, Started
from onebox.services.access.caller import Caller
from onebox.services.request import Options
from tests.unit.runtime.clients import run
from tests.unit.services.kitchen import MODEL, FakeInput, FakeTask, Kitchen, ended_with, sent

LARGE = b"x" * (SPOOL_ABOVE_BYTES + 1)
SMALL = b"x" * SPOOL_ABOVE_BYTES


@pytest.fixture
def kitchen(tmp_path: Path) -> Kitchen:
    return Kitchen(tmp_path)


class TestPrepare:
    @pytest.fixture(autouse=True)
    def task(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(TASKS._items, "fake", FakeTask())

    def prepare(self, kitchen: Kitchen, **options: Any):
        return run(
            kitchen.inference.prepare(
                "fake",
                FakeInput(),
                model="a",
                caller=Caller("key:1", frozenset()),
                options=Options("mine", **options),
            )
        )

    def test_the_model_is_found_and_the_input_completed(self, kitchen):
        prepared = self.prepare(kitchen)
        assert (prepared.entry, prepared.input.steps, prepared.caller) == (MODEL, 20, "key:1")
        assert prepared.options.client_id == "mine"

    def test_each_has_an_id_of_its_own(self, kitchen):
        assert len({self.prepare(kitchen).id for _ in range(20)}) == 20

    @pytest.mark.parametrize(("asked", "most"), [(None, 100), (7, 7), (1000, 100)])
    def test_a_client_may_only_shorten_its_time(self, kitchen, asked, most):
        assert most - 5 < self.prepare(kitchen, timeout_s=asked).left_s() <= most

    @pytest.mark.parametrize(
        ("change", "error", "why"),
        [
            ({"status": "broken", "reason": "no config"}, ModelBroken, "no config"),
            ({"tasks": ("chat",)}, TaskNotSupported, "it can do: chat"),
            ({"tasks": ()}, TaskNotSupported, "nothing that this server knows"),
        ],
    )
    def test_a_model_that_cannot_do_it_is_refused(self, kitchen, change, error, why):
        kitchen.catalogue.entry = msgspec.structs.replace(MODEL, **change)
        with pytest.raises(error, match=why):
            self.prepare(kitchen)


class TestRun:
    def test_a_request_reaches_the_worker_and_its_result_comes_back(self, kitchen):
        result = Result("wire-1", (Artifact("text/plain", b"hi"),), Timing(run_s=2.0))
        outcome = run(ended_with(kitchen, Started("wire-1"), result))
        assert (outcome.artifacts, outcome.timing) == (result.artifacts, result.timing)
        (frame,) = kitchen.submits()
        assert (frame.task, frame.entry, frame.caller) == ("fake", MODEL, "key:1")
        assert (frame.priority, frame.input["text"]) == ("job", "hello")
        assert (frame.estimate_bytes, frame.reserve_bytes) == (480, 100)
        assert 50 < frame.timeout_s <= 60
        assert kitchen.pool.needed == [580]
        assert kitchen.ends() == {"ok": 1}
        assert kitchen.nothing_is_left()

    def test_how_sure_the_model_was_is_counted(self, kitchen):
        sure = Artifact("image/png", b"png", None, {"confidence": 0.75})
        run(ended_with(kitchen, Result("wire-1", (sure, Artifact("text/plain", b"hi")))))
        page = kitchen.metrics.render().decode()
        labels = f'model="{MODEL.name}",task="fake"'
        assert f"onebox_prediction_confidence_sum{{{labels}}} 0.75" in page

    def test_how_sure_another_model_was_is_not_counted_again(self, kitchen, monkeypatch):
        monkeypatch.setattr(FakeTask, "confidence_is_own", False)
        sure = Artifact("image/png", b"png", None, {"confidence": 0.75})
        run(ended_with(kitchen, Result("wire-1", (sure,))))
        assert "onebox_prediction_confidence_sum{" not in kitchen.metrics.render().decode()

    def test_its_error_is_raised(self, kitchen):
        with pytest.raises(InferenceFailed, match="it failed"):
            run(ended_with(kitchen, Failed("wire-1", "inference_failed", "it failed")))
        assert kitchen.ends() == {"inference_failed": 1}
        assert kitchen.nothing_is_left()

    def test_out_of_memory_says_when_to_come_back(self, kitchen):
        with pytest.raises(OutOfMemory) as caught:
            run(ended_with(kitchen, Failed("wire-1", "insufficient_memory", "none left")))
        assert caught.value.retry_after_s >= 1
        assert kitchen.nothing_is_left()

    def test_unless_the_worker_did(self, kitchen):
        failed = Failed("wire-1", "insufficient_memory", "none left", retry_after_s=77)
        with pytest.raises(OutOfMemory) as caught:
            run(ended_with(kitchen, failed))
        assert caught.value.retry_after_s == 77

    def test_a_bug_is_no_cancel(self, kitchen):
        lost = Result("wire-1", (Artifact("image/png", None, "0" * 32),))
        with pytest.raises(FileNotFoundError):
            run(ended_with(kitchen, lost))
        assert kitchen.ends() == {"internal_error": 1}
        assert kitchen.nothing_is_left()

    def test_sizes_that_were_measured_are_remembered(self, kitchen):
        events = [Loading("wire-1", 0.5), Loading("wire-1", 1.0, 470)]
        run(ended_with(kitchen, *events, Result("wire-1", peak_bytes=55)))
        assert kitchen.sizing.remembered == [("weights", 470), ("working", 55)]

    def test_who_has_the_device_waits_no_longer(self, kitchen):
        async def scene():
            first, second = await sent(kitchen, kitchen.prepared("1"), kitchen.prepared("2"))
            assert kitchen.admission.waiting() == 2
            kitchen.client.answer(Started("wire-1"))
            assert kitchen.admission.waiting() == 1
            kitchen.client.answer(Result("wire-1"), Result("wire-2"))
            await asyncio.gather(first, second)

        run(scene())
        assert kitchen.nothing_is_left()

    def test_it_can_be_followed_from_outside(self, kitchen):
        async def scene():
            (task,) = await sent(kitchen, kitchen.prepared())
            (running,) = kitchen.running
            assert (running.state, running.worker, running.client_id) == ("queued", 0, "1")
            kitchen.client.answer(Started("wire-1"), Progress("wire-1", 3, 4))
            assert (running.state, running.step, running.steps) == ("running", 3, 4)
            kitchen.client.answer(Result("wire-1"))
            await task

        run(scene())

    def test_an_id_that_the_caller_uses_is_refused_and_the_first_goes_on(self, kitchen):
        async def scene():
            (first,) = await sent(kitchen, kitchen.prepared())
            with pytest.raises(RequestIdTaken):
                await kitchen.inference.run(kitchen.prepared())
            assert len(kitchen.running) == 1
            kitchen.client.answer(Result("wire-1"))
            await first

        run(scene())
        assert kitchen.ends() == {"ok": 1}


class TestRefused:
    def test_a_full_queue_refuses_and_sends_nothing(self, tmp_path):
        kitchen = Kitchen(tmp_path, max_waiting=1)

        async def scene():
            (first,) = await sent(kitchen, kitchen.prepared("1"))
            with pytest.raises(QueueFull):
                await kitchen.inference.run(kitchen.prepared("2", media=LARGE))
            assert kitchen.files() == []
            kitchen.client.answer(Result("wire-1"))
            await first

        run(scene())
        assert len(kitchen.submits()) == 1
        assert kitchen.ends() == {"ok": 1, "queue_full": 1}
        assert kitchen.nothing_is_left()

    def test_without_a_worker_it_is_refused(self, kitchen):
        async def unready():
            raise WorkerUnready("it is starting", retry_after_s=5)

        kitchen.pool.on_place = unready
        with pytest.raises(WorkerUnready):
            run(kitchen.inference.run(kitchen.prepared()))
        assert kitchen.ends() == {"worker_unready": 1}
        assert kitchen.nothing_is_left()

    def test_a_worker_that_is_lost_meanwhile_is_told(self, kitchen):
        kitchen.client.lost = WorkerLost("gone")
        with pytest.raises(WorkerLost):
            run(kitchen.inference.run(kitchen.prepared(media=LARGE)))
        assert kitchen.ends() == {"worker_lost": 1}
        assert kitchen.nothing_is_left()

    def test_a_request_that_is_late_already_is_not_placed(self, kitchen):
        with pytest.raises(DeadlineExceeded):
            run(kitchen.inference.run(kitchen.prepared(left_s=-1)))
        assert kitchen.pool.timeouts == []
        assert kitchen.ends() == {"deadline_exceeded": 1}
        assert kitchen.nothing_is_left()

    def test_one_whose_time_passes_while_it_is_placed_is_not_sent(self, kitchen):
        late = kitchen.prepared(media=LARGE)

        async def until_its_time_is_over():
            object.__setattr__(late, "deadline", 0.0)

        kitchen.pool.on_place = until_its_time_is_over
        with pytest.raises(DeadlineExceeded):
            run(kitchen.inference.run(late))
        assert kitchen.submits() == []
        assert kitchen.ends() == {"deadline_exceeded": 1}
        assert kitchen.nothing_is_left()

    def test_a_bug_while_it_is_sized_leaves_nothing(self, kitchen):
        def fail():
            raise ZeroDivisionError

        kitchen.sizing.on_weights = fail
        with pytest.raises(ZeroDivisionError):
            run(kitchen.inference.run(kitchen.prepared(media=LARGE)))
        assert kitchen.ends() == {"internal_error": 1}
        assert kitchen.nothing_is_left()


def test_the_worker_is_told_where_converted_weights_lie(kitchen):
    own = msgspec.structs.replace(MODEL, loaded_from="/data/own.safetensors")
    lora = msgspec.structs.replace(
        MODEL, key="lora", tasks=(), loaded_from="/data/lora.safetensors"
    )
    prepared = replace(kitchen.prepared(), entry=own, companions={"lora": lora})

    async def scenario() -> None:
        (task,) = await sent(kitchen, prepared)
        kitchen.client.answer(Result(prepared.id))
        await task

    run(scenario())
    (frame,) = kitchen.submits()
    assert frame.entry.path == "/data/own.safetensors"
    assert frame.companions["lora"].path == "/data/lora.safetensors"
