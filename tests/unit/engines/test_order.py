"""More urgent work never waits longer than one step: at the gate, and nested in one engine."""

from __future__ import annotations

import threading

import pytest

from onebox.core.errors import Cancelled, InferenceFailed, ShuttingDown
from onebox.engines.exclusive import ExclusiveEngine
from onebox.engines.microbatch import MicrobatchEngine
from tests.unit.engines.fakes import BOUND_S, until


class Steps:
    """Jobs that note their steps; `before` a step something else may happen."""

    def __init__(self) -> None:
        self.noted: list[str] = []
        self.before = {}

    def of(self, name, count=3):
        def run(bundle, between_steps):
            for step in range(count):
                happens = self.before.get(f"{name}{step}")
                self.noted.append(f"{name}{step}")
                if happens is not None:
                    happens()
                between_steps()

        return run


@pytest.fixture
def steps():
    return Steps()


@pytest.fixture
def engine(desk):
    return desk.open(ExclusiveEngine)


@pytest.fixture
def other(desk, engine):
    """A second engine at the same gate."""
    return desk.open(ExclusiveEngine)


def waits_at_the_gate(desk, engine):
    return engine._thread in desk.gate._waiting


def test_urgent_work_of_the_same_engine_waits_for_one_step_of_a_job(desk, engine, steps):
    steps.before["job0"] = lambda: desk.submit("u", steps.of("u", 2))
    desk.submit("job", steps.of("job"), priority="job")
    assert desk.next_answers(2) == ["u", "job"]
    assert steps.noted == ["job0", "u0", "u1", "job1", "job2"]


def test_urgent_work_of_another_engine_waits_for_one_step_of_a_job(desk, engine, other, steps):
    def urgent_arrives():
        other.submit(desk.work("u", steps.of("u", 2)))
        until(lambda: waits_at_the_gate(desk, other))

    steps.before["job0"] = urgent_arrives
    desk.submit("job", steps.of("job"), priority="job")
    assert desk.next_answers(2) == ["u", "job"]
    assert steps.noted == ["job0", "u0", "u1", "job1", "job2"]


def test_all_that_is_more_urgent_goes_first_and_equals_do_not(desk, engine, steps):
    def arrive():
        desk.submit("u", steps.of("u", 1))
        desk.submit("v", steps.of("v", 1))
        desk.submit("equal", steps.of("equal", 1), priority="job")

    steps.before["job0"] = arrive
    desk.submit("job", steps.of("job", 2), priority="job")
    assert desk.next_answers(4) == ["u", "v", "job", "equal"]
    assert steps.noted == ["job0", "u0", "v0", "job1", "equal0"]


def test_it_nests_deeper_for_still_better_ranks(desk, engine, steps):
    steps.before["batch0"] = lambda: desk.submit("job", steps.of("job", 2), priority="job")
    steps.before["job0"] = lambda: desk.submit("u", steps.of("u", 1))
    desk.submit("batch", steps.of("batch", 2), priority="batch")
    assert desk.next_answers(3) == ["u", "job", "batch"]
    assert steps.noted == ["batch0", "job0", "u0", "job1", "batch1"]


def test_nested_work_of_one_key_runs_as_one(desk, steps):
    desk.open(MicrobatchEngine)

    def arrive():
        for name in "uvw":
            desk.submit(name, batch_key="k")

    steps.before["job0"] = arrive
    desk.submit("job", steps.of("job", 1), priority="job")
    desk.next_answers(4)
    assert desk.runs == ["job", "u v w"]


def test_a_nested_run_keeps_the_device_by_its_own_rank(desk, engine, other, steps):
    def arrive():
        other.submit(desk.work("peer", steps.of("peer", 1), priority="job"))
        until(lambda: waits_at_the_gate(desk, other))

    steps.before["job0"] = lambda: desk.submit("u", steps.of("u", 2))
    steps.before["u0"] = arrive
    desk.submit("job", steps.of("job", 2), priority="job")
    desk.next_answers(3)
    assert steps.noted == ["job0", "u0", "u1", "peer0", "job1"]


def test_without_room_urgent_work_stays_first_in_the_queue(desk, engine, steps):
    desk.memory.has_room_now = False

    def arrive():
        for name in "uv":
            desk.submit(name)
        assert desk.engine.waiting() == 2

    steps.before["job0"] = arrive
    steps.before["job2"] = lambda: setattr(desk.memory, "has_room_now", True)
    desk.submit("job", steps.of("job", 4), priority="job")
    assert desk.next_answers(3) == ["u", "v", "job"]
    assert desk.memory.asked_now == ["u", "u", "u", "v"]
    assert steps.noted == ["job0", "job1", "job2", "job3"]
    assert desk.runs == ["job", "u", "v"]


def test_what_finds_no_room_can_still_be_cancelled_and_closed(desk, engine, steps):
    desk.memory.has_room_now = False

    def arrive():
        for name in "uv":
            desk.submit(name)

    steps.before["job0"] = arrive
    steps.before["job1"] = lambda: desk.engine.cancel("u")
    steps.before["job2"] = lambda: desk.engine.close(ShuttingDown("stop"))
    desk.submit("job", steps.of("job", 4), priority="job")
    assert [desk.answer() for _ in range(3)] == [
        ("u", Cancelled),
        ("v", ShuttingDown),
        ("job", "weights"),
    ]
    assert desk.memory.asked_now == ["u", "v"]


def test_a_lean_run_takes_no_more_work_in(desk, engine, steps):
    def run_out(works, lean):
        if works[0].id == "job" and not lean:
            raise MemoryError

    desk.on_run = run_out
    steps.before["job0"] = lambda: desk.submit("u")
    desk.submit("job", steps.of("job"), priority="job")
    assert desk.next_answers(2) == ["job", "u"]
    assert desk.runs == ["job", "job lean", "u"]


@pytest.mark.parametrize("bug", [RuntimeError("a bug"), SystemExit(1), MemoryError()])
def test_a_nested_failure_does_not_hurt_the_outer_run(desk, engine, steps, bug):
    def fail(works, lean):
        if works[0].id == "u" and not lean:
            raise bug

    desk.on_run = fail
    steps.before["job0"] = lambda: desk.submit("u")
    desk.submit("job", steps.of("job", 2), priority="job")
    told = "weights" if isinstance(bug, MemoryError) else InferenceFailed
    assert [desk.answer() for _ in range(2)] == [("u", told), ("job", "weights")]
    assert steps.noted == ["job0", "job1"]


def test_a_bug_in_asking_for_room_does_not_hurt_the_outer_run(desk, engine, steps):
    def broken(works):
        raise RuntimeError

    desk.memory.lease_now = broken
    steps.before["job0"] = lambda: desk.submit("u")
    desk.submit("job", steps.of("job", 2), priority="job")
    assert [desk.answer() for _ in range(2)] == [("u", InferenceFailed), ("job", "weights")]


def test_what_was_stopped_is_answered_at_the_next_step_and_not_run(desk, engine, steps):
    def arrive():
        desk.submit("u").token.cancel()

    steps.before["job0"] = arrive
    desk.submit("job", steps.of("job"), priority="job")
    assert [desk.answer() for _ in range(2)] == [("u", Cancelled), ("job", "weights")]
    assert desk.runs == ["job"]


def test_what_was_stopped_makes_no_way_for_its_equals(desk, engine, steps):
    def arrive():
        desk.submit("equal", steps.of("equal", 1), priority="job")
        desk.submit("u").token.cancel()

    steps.before["job0"] = arrive
    desk.submit("job", steps.of("job"), priority="job")
    assert desk.next_answers(3) == ["u", "job", "equal"]


def test_urgent_work_that_comes_while_a_job_waits_for_its_lease_goes_first(desk, engine, steps):
    def on_lease(works):
        if works[0].id == "job":
            desk.submit("u", steps.of("u", 1))

    desk.memory.on_lease = on_lease
    desk.submit("job", steps.of("job", 1), priority="job")
    assert desk.next_answers(2) == ["u", "job"]
    assert steps.noted == ["u0", "job0"]


def test_urgent_work_behind_a_job_that_waits_at_the_gate_does_not_wait_with_it(
    desk, engine, other, steps
):
    """The other engine's long interactive run would keep the job, and all behind it, waiting."""

    def job_arrives():
        other.submit(desk.work("job", steps.of("job", 1), priority="job"))
        until(lambda: waits_at_the_gate(desk, other))

    steps.before["long0"] = job_arrives
    steps.before["long2"] = lambda: other.submit(desk.work("u", steps.of("u", 1)))
    desk.submit("long", steps.of("long", 5))
    assert desk.next_answers(3) == ["u", "long", "job"]
    assert steps.noted == ["long0", "long1", "long2", "u0", "long3", "long4", "job0"]


def test_between_two_jobs_that_take_turns_urgent_work_waits_for_one_step(
    desk, engine, other, steps
):
    def peer_arrives():
        other.submit(desk.work("peer", steps.of("peer", 5), priority="job"))
        until(lambda: waits_at_the_gate(desk, other))

    steps.before["job0"] = peer_arrives
    steps.before["peer1"] = lambda: desk.submit("u", steps.of("u", 1))
    steps.before["job2"] = lambda: desk.submit("v", steps.of("v", 1))
    desk.submit("job", steps.of("job", 4), priority="job")
    desk.next_answers(4)
    expected = "job0 peer0 job1 peer1 u0 peer2 job2 v0 peer3 job3 peer4"
    assert steps.noted == expected.split()


def test_a_job_takes_its_steps_for_the_urgent_work_that_needs_its_memory(
    desk, engine, other, steps
):
    """Or a run of the other engine would keep both waiting."""
    desk.memory.has_room_now = False

    def arrive():
        desk.submit("u")
        other.submit(desk.work("long", steps.of("long", 3), priority="job"))
        until(lambda: waits_at_the_gate(desk, other))

    steps.before["batch0"] = arrive
    desk.submit("batch", steps.of("batch", 3), priority="batch")
    desk.next_answers(3)
    assert steps.noted[:3] == ["batch0", "batch1", "batch2"]


def test_under_load_from_many_threads_each_is_answered_once(desk):
    desk.open(MicrobatchEngine)
    peer = desk.open(MicrobatchEngine)
    priorities = ["interactive", "job", "batch"]

    def hand_in(letter):
        for number in range(30):
            engine = desk.engine if number % 2 else peer
            work = desk.work(
                f"{letter}{number}",
                lambda bundle, between_steps: between_steps(),
                caller=letter,
                priority=priorities[number % 3],
                batch_key=number % 4 or None,
            )
            engine.submit(work)
            if number % 7 == 0:
                work.token.cancel()
                engine.cancel(work.id)

    threads = [threading.Thread(target=hand_in, args=[letter]) for letter in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(BOUND_S)
    answered = desk.next_answers(120)
    assert len(set(answered)) == 120
    assert desk.answers.empty()
