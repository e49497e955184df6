from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass, field

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import Cancelled, InferenceFailed, OutOfMemory, ShuttingDown
from onebox.engines.exclusive import ExclusiveEngine
from onebox.engines.gate import Gate
from onebox.engines.work import LoadFailed, Work

BOUND_S = 10


@dataclass
class Desk:
    """Hands in requests and collects their answers, in the order in which they come."""

    engine: ExclusiveEngine
    answers: queue.Queue[tuple[str, object]] = field(default_factory=queue.Queue)

    def submit(self, name, run=None, *, caller="a", priority="interactive", token=None):
        def answer_ok(bundle, between_steps):
            between_steps()
            self.answers.put((name, bundle))

        self.engine.submit(
            Work(
                id=name,
                caller=caller,
                priority=priority,
                token=token or CancelToken(),
                estimate_bytes=0,
                reserve_bytes=0,
                run=run or answer_ok,
                fail=lambda error: self.answers.put((name, type(error))),
                loading=lambda fraction: None,
            )
        )

    def hold(self):
        """Keep the engine busy; the event returned lets it go."""
        started, free = threading.Event(), threading.Event()

        def run(bundle, between_steps):
            started.set()
            assert free.wait(BOUND_S)
            self.answers.put(("held", bundle))

        self.submit("held", run)
        assert started.wait(BOUND_S)
        return free

    def answer(self):
        return self.answers.get(timeout=BOUND_S)


@contextlib.contextmanager
def lends_weights(work):
    yield "weights"


@contextlib.contextmanager
def cannot_load(work):
    raise LoadFailed(OutOfMemory("too big", retry_after_s=5))
    yield


@pytest.fixture
def open_desk():
    desks = []

    def open_one(lease=lends_weights):
        desks.append(Desk(ExclusiveEngine("test", lease, Gate())))
        return desks[-1]

    yield open_one
    for desk in desks:
        desk.engine.close(ShuttingDown("the test is over"))
        desk.engine.join(BOUND_S)


def test_a_request_runs_on_the_leased_weights(open_desk):
    desk = open_desk()
    desk.submit("one")
    assert desk.answer() == ("one", "weights")


def test_one_after_another_urgent_ones_first_and_callers_in_turn(open_desk):
    desk = open_desk()
    free = desk.hold()
    desk.submit("a-job", priority="job")
    for name in ("a1", "a2"):
        desk.submit(name, caller="a")
    desk.submit("b1", caller="b")
    assert (desk.engine.waiting(), desk.engine.busy()) == (4, True)
    free.set()
    assert [desk.answer()[0] for _ in range(5)] == ["held", "a1", "b1", "a2", "a-job"]


def test_cancelled_while_waiting_is_answered_once_and_never_runs(open_desk):
    desk = open_desk()
    free = desk.hold()
    desk.submit("unwanted")
    desk.submit("next")
    desk.engine.cancel("unwanted")
    desk.engine.cancel("unwanted")
    assert desk.answer() == ("unwanted", Cancelled)
    free.set()
    assert [desk.answer()[0] for _ in range(2)] == ["held", "next"]
    assert desk.answers.empty()


def test_cancelling_an_unknown_request_does_nothing(open_desk):
    desk = open_desk()
    desk.engine.cancel("nobody")
    desk.submit("one")
    assert desk.answer() == ("one", "weights")


def test_what_is_cancelled_by_its_token_does_not_start(open_desk):
    token = CancelToken()
    token.cancel()
    desk = open_desk()
    desk.submit("late", token=token)
    assert desk.answer() == ("late", Cancelled)


def test_when_the_weights_do_not_load_all_who_wait_are_told(open_desk):
    waiting = threading.Event()
    tried = []

    @contextlib.contextmanager
    def fails_later(work):
        tried.append(work.id)
        assert waiting.wait(BOUND_S)
        raise LoadFailed(OutOfMemory("too big"))
        yield

    desk = open_desk(fails_later)
    for name in ("one", "two", "three"):
        desk.submit(name)
    waiting.set()
    assert {desk.answer() for _ in range(3)} == {
        (name, OutOfMemory) for name in ("one", "two", "three")
    }
    assert tried == ["one"]  # nobody loads again what just failed


def test_after_a_failed_load_the_next_request_is_tried_anew(open_desk):
    desk = open_desk(cannot_load)
    for name in ("one", "two"):
        desk.submit(name)
        assert desk.answer() == (name, OutOfMemory)


@pytest.mark.parametrize("bug", [RuntimeError("CUDA error"), SystemExit(1), KeyboardInterrupt()])
def test_a_bug_in_a_run_is_answered_and_the_next_request_runs(open_desk, bug):
    def run(bundle, between_steps):
        raise bug

    desk = open_desk()
    desk.submit("bad", run)
    desk.submit("good")
    assert desk.answer() == ("bad", InferenceFailed)
    assert desk.answer() == ("good", "weights")


def test_our_own_errors_reach_the_client_as_they_are(open_desk):
    def run(bundle, between_steps):
        raise OutOfMemory("no room")

    desk = open_desk()
    desk.submit("one", run)
    assert desk.answer() == ("one", OutOfMemory)


def test_closing_answers_what_waits_lets_the_running_one_finish_and_refuses_new_ones(open_desk):
    desk = open_desk()
    free = desk.hold()
    desk.submit("waiting")
    desk.engine.close(ShuttingDown("stop"))
    assert desk.answer() == ("waiting", ShuttingDown)
    desk.submit("late")
    assert desk.answer() == ("late", ShuttingDown)
    free.set()
    assert desk.answer() == ("held", "weights")
    desk.engine.join(BOUND_S)
    assert not desk.engine.busy()
    assert desk.answers.empty()
