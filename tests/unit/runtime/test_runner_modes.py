"""Which runs are measured, and which compute deterministically."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from onebox.core.errors import Cancelled, InvalidInput, WorkerLost
from tests.unit.runtime.bench import Bench, two_steps


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


class TestPeak:
    """A run is measured when it is not the first of its kind and has the process to itself."""

    def test_the_first_run_is_not_measured_and_each_size_once(self, bench):
        peaks = [bench.peak_of(name) for name in "123"]
        assert peaks == [None, 1000, None]
        assert bench.peak_of("4", size=2) == 1001
        assert bench.peak_of("5", size=2) is None
        assert bench.meters.started == 2

    def test_each_checkpoint_has_a_first_run(self, bench):
        assert [bench.peak_of("1"), bench.peak_of("2", key="b")] == [None, None]

    def test_without_a_size_class_nothing_is_measured(self, bench):
        assert [bench.peak_of(name, size=0) for name in "12"] == [None, None]
        assert bench.meters.started == 0

    def test_where_it_cannot_be_measured_it_is_tried_again(self, bench):
        bench.meters.measures = False
        assert [bench.peak_of(name) for name in "12"] == [None, None]
        bench.meters.measures = True
        assert bench.peak_of("3") == 1001

    def test_a_run_that_fails_is_not_measured_but_the_next_one_is(self, bench):
        bench.peak_of("1")

        def fail(context):
            raise ZeroDivisionError

        bench.task.on_run = fail
        with pytest.raises(ZeroDivisionError):
            bench.peak_of("2")
        bench.task.on_run = lambda context: None
        assert bench.peak_of("3") is not None

    def test_a_batch_is_not_measured(self, bench):
        bench.peak_of("1")
        bench.run(bench.request("2"), bench.request("3"))
        assert [bench.answers()[name].peak_bytes for name in "23"] == [None, None]

    def test_nor_is_a_lean_run(self, bench):
        bench.peak_of("1")
        bench.run(bench.request("2"), lean=True)
        assert bench.answers()["2"].peak_bytes is None
        assert bench.peak_of("3") == 1000

    def test_nor_are_runs_of_which_one_is_inside_the_other(self, bench):
        bench.peak_of("1")
        bench.task.on_run = lambda context: context.step(1, 1)

        def nested():
            bench.task.on_run = lambda context: None
            bench.run(bench.request("inner", size=2))

        bench.run(bench.request("outer"), between=nested)
        assert bench.answers()["outer"].peak_bytes is None
        assert bench.answers()["inner"].peak_bytes is None
        assert bench.peak_of("2") is not None

    def test_nor_is_one_during_which_something_was_loaded(self, bench):
        bench.peak_of("1")

        def load_another(context):
            with bench.runner.disturbed():
                pass

        bench.task.on_run = load_another
        assert bench.peak_of("2") is None
        bench.task.on_run = lambda context: None
        with bench.runner.disturbed():
            assert bench.peak_of("3") is None
        assert bench.peak_of("4") is not None


class TestDeterministic:
    @pytest.fixture
    def torch(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """A torch with one switch, which is 2 in deterministic runs."""
        torch = SimpleNamespace(mode=0)
        torch.get_deterministic_debug_mode = lambda: torch.mode
        torch.set_deterministic_debug_mode = lambda mode: setattr(torch, "mode", mode)
        monkeypatch.setitem(sys.modules, "torch", torch)
        return torch

    @pytest.mark.parametrize(("wanted", "mode"), [(True, 2), (False, 0)])
    def test_only_a_run_that_wants_it_is(self, bench, torch, wanted, mode):
        seen = []
        bench.task.on_run = lambda context: seen.append(torch.mode)
        bench.run(bench.request("1", deterministic=wanted))
        assert (seen, torch.mode) == ([mode], 0)

    def test_it_is_suspended_while_others_have_the_device(self, bench, torch):
        seen = []

        def steps(context):
            context.step(1, 1)
            seen.append(torch.mode)

        bench.task.on_run = steps
        request = bench.request("1", deterministic=True)
        bench.run(request, between=lambda: seen.append(torch.mode))
        assert (seen, torch.mode) == ([0, 2], 0)

    def test_it_ends_with_a_run_that_fails(self, bench, torch):
        request = bench.request("1", deterministic=True)
        bench.task.on_run = two_steps
        with pytest.raises(Cancelled):
            bench.run(request, between=request.token.cancel)
        assert torch.mode == 0

    @pytest.mark.parametrize(("wanted", "expected"), [(True, InvalidInput), (False, RuntimeError)])
    def test_an_operation_that_has_no_such_form_is_the_requests_fault(
        self, bench, torch, wanted, expected
    ):
        def refuse(context):
            raise RuntimeError("index_put_ does not have a deterministic implementation")

        bench.task.on_run = refuse
        with pytest.raises(expected) as caught:
            bench.run(bench.request("1", deterministic=wanted))
        assert getattr(caught.value, "param", "deterministic") == "deterministic"


def test_a_device_that_fails_is_told_of_and_its_requests_may_be_tried_again(bench):
    def fail(context):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    bench.task.on_run = fail
    with pytest.raises(WorkerLost, match="failed; its worker is being restarted"):
        bench.run(bench.request("1"))
    assert bench.runner.failure == "the device cpu failed"
