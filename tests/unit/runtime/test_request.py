"""One request inside the worker: checked, queued, and answered exactly once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from onebox.core.cancel import check_now
from onebox.core.errors import (
    Cancelled,
    InvalidInput,
    ModelUnloaded,
    OutOfMemory,
    ShuttingDown,
    TaskNotSupported,
)
from onebox.core.plugins import ENCODERS, FAMILIES, TASKS
from onebox.core.results import Artifact, Encoder, Output
from onebox.runtime.wire import SPOOL_ABOVE_BYTES, Failed, Loading, Result, Started
from onebox.runtime.worker.request import Request
from tests.unit.runtime.clients import entry
from tests.unit.runtime.desk import Desk, load, submit

# Lists are not quick to encode.
LARGE = Output("json", ["x" * SPOOL_ABOVE_BYTES])
SMALL = Output("json", ["x"])
QUICK = Output("json", {"n": 1}, meta={"seed": 7})
UNKNOWN = Output("no such encoder", b"")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    desk = Desk(tmp_path)
    monkeypatch.setitem(TASKS._items, "text", desk.task)
    monkeypatch.setitem(FAMILIES._items, "fake", None)
    return desk


class TestCreate:
    def test_a_request_is_as_its_task_validates_it(self, desk):
        request = Request.create(submit("1", text="hi", size="3"), desk.around)
        assert (request.input.text, request.input.size) == ("hi", 3)
        assert request.token.stopped() is None
        assert desk.events == []

    @pytest.mark.parametrize(
        ("change", "error", "why"),
        [
            ({"entry": entry(family="unknown")}, TaskNotSupported, "no family serves name-of-a"),
            ({"task": "unknown"}, TaskNotSupported, "no task unknown"),
            ({"input": {"size": "large"}}, InvalidInput, "valid integer"),
            ({"input": {"text": "refuse"}}, InvalidInput, "not this one"),
        ],
    )
    def test_what_cannot_be_done_is_refused(self, desk, change, error, why):
        frame = msgspec.structs.replace(submit("1"), **change)
        with pytest.raises(error, match=why):
            Request.create(frame, desk.around)

    def test_its_time_counts_from_here(self, desk):
        frame = msgspec.structs.replace(submit("1"), timeout_s=0)
        assert Request.create(frame, desk.around).token.stopped()

    def test_a_load_has_no_task(self, desk):
        request = Request.create(load("1"), desk.around)
        assert (request.task, request.entry) == (None, entry())


class TestWork:
    def test_an_engine_sees_what_it_must_know(self, desk):
        work = Request.create(submit("1", size=3), desk.around).work()
        assert (work.id, work.caller, work.priority) == ("1", "key:1", "job")
        assert (work.estimate_bytes, work.reserve_bytes) == (40, 300)
        assert (work.batch_key, work.items, work.max_items) == (("text", "together"), 2, 8)

    def test_a_measured_reserve_replaces_the_estimate(self, desk):
        frame = submit("1", reserve_bytes=0, size=3)
        assert Request.create(frame, desk.around).work().reserve_bytes == 0

    def test_one_without_a_batch_key_runs_alone(self, desk):
        assert Request.create(submit("1", group=None), desk.around).work().batch_key is None

    def test_a_load_needs_no_working_memory_and_runs_alone(self, desk):
        work = Request.create(load("1"), desk.around).work()
        assert (work.reserve_bytes, work.batch_key, work.priority) == (0, None, "interactive")

    def test_it_is_answered_through_its_work(self, desk):
        desk.request("1").work().fail(OutOfMemory("none left", should_retry=False))
        assert desk.events == [
            Failed("1", "insufficient_memory", "none left", should_retry=False),
        ]


class TestAnswer:
    def test_it_starts_once(self, desk):
        request = desk.request("1")
        request.start()
        request.start()
        assert desk.events == [Started("1")]

    def test_a_result_is_encoded_elsewhere(self, desk):
        request = desk.request("1")
        request.start()
        request.finish([QUICK, SMALL], peak_bytes=55)
        assert not request.answered
        answer = desk.answers()["1"]
        assert request.answered
        assert isinstance(answer, Result)
        assert answer.peak_bytes == 55
        artifact, small = answer.artifacts
        assert (artifact.data, artifact.meta) == (b'{"n":1}', {"seed": 7})
        assert small.data == b'["x"]'

    def test_but_at_once_when_that_is_quick(self, desk):
        request = desk.request("1")
        request.finish([QUICK, QUICK])
        assert request.answered
        assert len(desk.answers()["1"].artifacts) == 2

    def test_only_the_first_answer_counts(self, desk):
        request = desk.request("1")
        request.fail(ShuttingDown("going down"))
        request.fail(OutOfMemory("none left"))
        request.finish([SMALL])
        request.loaded()
        assert desk.answers()["1"].code == "shutting_down"

    def test_an_engine_that_says_cancelled_is_told_why(self, desk):
        request = desk.request("1")
        request.token.cancel(ModelUnloaded("by its operator"))
        request.fail(Cancelled("it waited"))
        assert desk.answers()["1"].code == "model_unloaded"

    def test_a_cancel_of_nobody_in_particular_stays_one(self, desk):
        desk.request("1").fail(Cancelled("it waited"))
        assert desk.answers()["1"].message == "it waited"

    def test_another_error_is_told_as_it_is(self, desk):
        request = desk.request("1")
        request.token.cancel()
        request.fail(OutOfMemory("none left"))
        assert desk.answers()["1"].code == "insufficient_memory"

    def test_the_time_of_each_load_counts_as_load_and_as_nothing_else(self, desk, monkeypatch):
        """One that has begun may see its model go, and come again."""
        now = 100.0
        monkeypatch.setattr("onebox.runtime.worker.request.time.monotonic", lambda: now)
        request = replace(desk.request("1"), created=now)
        for at, step in [
            (103, lambda: request.loading(0, None)),
            (105, lambda: request.loading(1, 40)),
            (106, request.start),
            (200, lambda: request.loading(0, None)),
            (201, lambda: request.loading(0, None)),
            (204, lambda: request.loading(1, 40)),
            (300, lambda: request.finish([QUICK])),
        ]:
            now = float(at)
            step()
        timing = desk.answers()["1"].timing
        assert (timing.queue_s, timing.load_s, timing.run_s) == (4, 6, 190)

    def test_a_load_is_answered_without_artifacts(self, desk):
        request = desk.load("1")
        request.loading(0, None)
        request.loading(1, 40)
        request.loaded()
        assert desk.events[:2] == [Loading("1", 0), Loading("1", 1, 40)]
        assert desk.answers()["1"].artifacts == ()

    def test_its_time_is_split(self, desk):
        request = desk.request("1")
        request.loading(0, None)
        request.loading(1, 40)
        request.start()
        request.finish([SMALL])
        timing = desk.answers()["1"].timing
        assert min(timing.queue_s, timing.load_s, timing.run_s, timing.encode_s) >= 0
        assert timing.load_s + timing.queue_s <= request._started - request.created + 1e-6


class TestFiles:
    def test_only_what_is_large_goes_through_the_spool(self, desk):
        desk.request("1").finish([SMALL, LARGE])
        small, large = desk.answers()["1"].artifacts
        assert (small.data, small.spool_id) == (b'["x"]', None)
        assert large.data is None
        assert len(desk.spool.take(large.spool_id)) > SPOOL_ABOVE_BYTES

    def test_an_answer_that_comes_too_late_leaves_no_file(self, desk, tmp_path):
        request = desk.request("1")
        request.finish([LARGE, SMALL, LARGE])
        request.fail(ModelUnloaded("by its operator"))
        assert desk.answers()["1"].code == "model_unloaded"
        assert list(tmp_path.iterdir()) == []

    def test_an_output_that_cannot_be_encoded_fails_all_and_leaves_no_file(self, desk, tmp_path):
        desk.request("1").finish([LARGE, UNKNOWN])
        answer = desk.answers()["1"]
        assert answer.code == "inference_failed"
        assert "no such encoder" not in answer.message
        assert list(tmp_path.iterdir()) == []

    def test_encoding_can_ask_whether_anybody_still_wants_the_result(
        self, desk, tmp_path, monkeypatch
    ):
        class Long(Encoder):
            kind = "long"

            def encode(self, output: Output) -> Artifact:
                check_now()
                request.token.cancel(ModelUnloaded("by its operator"))
                check_now()
                raise AssertionError("it went on")

        monkeypatch.setitem(ENCODERS._items, "long", Long())
        request = desk.request("1")
        request.finish([LARGE, Output("long", b"")])
        assert desk.answers()["1"].code == "model_unloaded"
        assert list(tmp_path.iterdir()) == []
