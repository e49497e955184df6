"""What an engine's thread does with a batch of requests."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from onebox.core.cancel import check_now
from onebox.core.errors import Cancelled, ModelUnloaded
from onebox.core.media import MediaRef
from onebox.runtime.wire import Delta, Failed, Progress, Result, Started
from tests.unit.runtime.bench import Bench, two_steps
from tests.unit.runtime.clients import CPU, entry


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class TestRun:
    def test_a_request_starts_steps_and_ends(self, bench):
        bench.task.on_run = two_steps
        bench.run(bench.request("1"))
        assert bench.events == [Started("1"), Progress("1", 1, 2), Progress("1", 2, 2)]
        assert bench.answers()["1"].artifacts[0].data == b'"1"'

    def test_it_starts_once_however_often_it_is_tried(self, bench):
        request = bench.request("1")
        bench.task.on_run = lambda context: context.read(MediaRef(file_id="0" * 32))
        with pytest.raises(FileNotFoundError):
            bench.run(request)
        bench.task.on_run = lambda context: None
        bench.run(request)
        assert bench.events == [Started("1")]
        assert isinstance(bench.answers()["1"], Result)

    def test_a_batch_runs_as_one_and_each_gets_its_own(self, bench):
        bench.task.on_run = two_steps
        bench.run(*map(bench.request, "123"))
        assert bench.task.runs == [["1", "2", "3"]]
        for name in "123":
            assert bench.told(name)[0] == Started(name)
            assert Progress(name, 2, 2) in bench.events
            assert bench.answers()[name].artifacts[0].data == f'"{name}"'.encode()

    def test_a_run_that_raises_has_answered_nobody(self, bench):
        def fail(context):
            raise ZeroDivisionError

        bench.task.on_run = fail
        with pytest.raises(ZeroDivisionError):
            bench.run(*map(bench.request, "12"))
        assert bench.answers() == {}

    def test_between_steps_others_may_go_first(self, bench):
        order: list[object] = []

        def steps(context):
            for step in (1, 2):
                context.step(step, 2)
                order.append(step)

        bench.task.on_run = steps
        bench.run(bench.request("1"), between=lambda: order.append("others"))
        assert order == ["others", 1, "others", 2]

    @pytest.mark.parametrize("lean", [True, False])
    def test_a_task_is_told_to_be_lean(self, bench, lean):
        told = []
        bench.task.on_run = lambda context: told.append((context.lean, context.device))
        bench.run(bench.request("1"), lean=lean)
        assert told == [(lean, CPU)]

    def test_a_load_is_answered_without_a_run(self, bench):
        bench.run(bench.load("1"))
        assert list(bench.answers()) == ["1"]
        assert bench.task.runs == []

    def test_pieces_of_a_result_are_sent(self, bench):
        bench.task.on_run = lambda context: context.delta({"text": "he"})
        bench.run(bench.request("1"))
        assert bench.events[:2] == [Started("1"), Delta("1", {"text": "he"})]

    def test_a_binary_input_is_read_from_the_frame_or_the_spool(self, bench):
        stored = MediaRef(file_id=bench.spool.put(b"stored"))
        read = []
        bench.task.on_run = lambda context: read.extend(
            context.read(media) for media in (MediaRef(data=b"sent"), stored)
        )
        bench.run(bench.request("1"))
        assert read == [b"sent", b"stored"]


class TestCancel:
    def test_one_alone_stops_at_its_next_step(self, bench):
        request = bench.request("1")

        def steps(context):
            context.step(1, 3)
            request.token.cancel()
            context.step(2, 3)

        bench.task.on_run = steps
        with pytest.raises(Cancelled):
            bench.run(request)
        assert Progress("1", 2, 3) not in bench.events

    def test_one_that_was_cancelled_before_does_not_run(self, bench):
        request = bench.request("1")
        request.token.cancel(ModelUnloaded("by its operator"))
        with pytest.raises(ModelUnloaded):
            bench.run(request)
        assert bench.task.runs == []

    def test_one_that_is_cancelled_while_others_had_the_device_stops_at_once(self, bench):
        request = bench.request("1")
        bench.task.on_run = two_steps
        with pytest.raises(Cancelled):
            bench.run(request, between=request.token.cancel)

    def test_of_a_batch_who_is_cancelled_is_answered_and_the_others_go_on(self, bench):
        requests = [bench.request(name) for name in "123"]

        def steps(context):
            context.step(1, 3)
            requests[1].token.cancel()
            context.step(2, 3)
            assert bench.told("2")[-1].code == "cancelled"
            context.step(3, 3)
            context.delta({"text": "x"})

        bench.task.on_run = steps
        bench.run(*requests)
        answers = bench.answers()
        assert [type(answers[name]) for name in "123"] == [Result, Failed, Result]
        assert bench.told("2")[:-1] == [Started("2"), Progress("2", 1, 3)]
        assert bench.told("3")[-2:-1] == [Delta("3", {"text": "x"})]

    def test_a_batch_that_nobody_wants_stops(self, bench):
        requests = [bench.request(name) for name in "12"]

        def steps(context):
            requests[0].token.cancel()
            context.step(1, 2)
            requests[1].token.cancel(ModelUnloaded("by its operator"))
            context.step(2, 2)
            raise AssertionError("it went on")

        bench.task.on_run = steps
        with pytest.raises((Cancelled, ModelUnloaded)):
            bench.run(*requests)
        answers = bench.answers()
        assert [answers[name].code for name in "12"] == ["cancelled", "model_unloaded"]

    def test_who_was_answered_by_others_gets_nothing_more(self, bench):
        requests = [bench.request(name) for name in "12"]

        def steps(context):
            requests[0].fail(ModelUnloaded("by its operator"))
            context.step(1, 1)

        bench.task.on_run = steps
        bench.run(*requests)
        assert bench.told("1")[1:] == [
            Failed("1", "model_unloaded", "by its operator"),
        ]
        assert isinstance(bench.answers()["2"], Result)

    def test_one_that_was_answered_by_others_stops(self, bench):
        request = bench.request("1")

        def steps(context):
            request.fail(ModelUnloaded("by its operator"))
            context.step(1, 1)
            raise AssertionError("it went on")

        bench.task.on_run = steps
        with pytest.raises(Cancelled):
            bench.run(request)
        assert bench.answers()["1"].code == "model_unloaded"

    def test_code_deep_inside_a_library_can_be_stopped(self, bench):
        request = bench.request("1")

        def inside_a_library(context):
            check_now()
            request.token.cancel()
            check_now()

        bench.task.on_run = inside_a_library
        with pytest.raises(Cancelled):
            bench.run(request)
        check_now()  # not any more


def test_a_batch_has_the_companions_of_all_its_requests(bench):
    seen = []
    bench.task.on_run = lambda context: seen.append(dict(context.companions))
    plain, asking = bench.request("1"), bench.request("2")
    decoder = entry("decoder")
    asking.frame = msgspec.structs.replace(asking.frame, companions={"preview": decoder})
    bench.run(plain, asking)
    assert seen == [{"preview": decoder}]
