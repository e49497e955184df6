from __future__ import annotations

import threading

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import (
    Cancelled,
    InferenceFailed,
    ModelBusy,
    ModelUnloaded,
    OutOfMemory,
    ShuttingDown,
)
from onebox.engines.exclusive import ExclusiveEngine
from onebox.engines.work import LoadFailed
from tests.unit.engines.fakes import BOUND_S


@pytest.fixture(autouse=True)
def engine(desk):
    return desk.open(ExclusiveEngine)


def raises(error):
    def run(*_):
        raise error

    return run


def test_a_request_runs_on_the_leased_weights(desk):
    desk.submit("one")
    assert desk.answer() == ("one", "weights")


def test_one_after_another_urgent_ones_first_and_callers_in_turn(desk):
    free = desk.hold()
    desk.submit("a-job", priority="job")
    for name in ("a1", "a2"):
        desk.submit(name, caller="a")
    desk.submit("b1", caller="b")
    assert (desk.engine.waiting(), desk.engine.busy()) == (4, True)
    free.set()
    assert desk.next_answers(5) == ["held", "a1", "b1", "a2", "a-job"]


def test_requests_of_one_key_run_alone_too(desk):
    free = desk.hold()
    for name in ("one", "two"):
        desk.submit(name, batch_key="same")
    free.set()
    desk.next_answers(3)
    assert desk.runs == ["held", "one", "two"]


def test_cancelled_while_waiting_is_answered_once_and_never_runs(desk):
    free = desk.hold()
    desk.submit("unwanted")
    desk.submit("next")
    desk.engine.cancel("unwanted")
    desk.engine.cancel("unwanted")
    assert desk.answer() == ("unwanted", Cancelled)
    free.set()
    assert desk.next_answers(2) == ["held", "next"]
    assert desk.answers.empty()


def test_cancelled_for_a_reason_is_answered_with_it(desk):
    free = desk.hold()
    waiting = desk.submit("waiting")
    waiting.token.cancel(ModelUnloaded("by force"))
    desk.engine.cancel("waiting")
    assert desk.answer() == ("waiting", ModelUnloaded)
    free.set()


def test_cancelling_an_unknown_request_does_nothing(desk):
    desk.engine.cancel("nobody")
    desk.submit("one")
    assert desk.answer() == ("one", "weights")


def test_what_is_cancelled_by_its_token_does_not_start(desk):
    token = CancelToken()
    token.cancel()
    desk.submit("late", token=token)
    assert desk.answer() == ("late", Cancelled)
    assert desk.runs == []


def test_what_is_cancelled_while_its_lease_is_waited_for_does_not_start(desk):
    desk.memory.on_lease = lambda works: works[0].token.cancel()
    desk.submit("late")
    assert desk.answer() == ("late", Cancelled)
    assert desk.runs == []


def test_when_the_weights_do_not_load_all_who_wait_are_told(desk):
    waiting = threading.Event()
    tried = []

    def fails_later(works):
        tried.append(works[0].id)
        assert waiting.wait(BOUND_S)
        raise LoadFailed(OutOfMemory("too big"))

    desk.memory.on_lease = fails_later
    for name in ("one", "two", "three"):
        desk.submit(name)
    waiting.set()
    assert {desk.answer() for _ in range(3)} == {
        (name, OutOfMemory) for name in ("one", "two", "three")
    }
    assert tried == ["one"]  # nobody loads again what just failed


def test_after_a_failed_load_the_next_request_is_tried_anew(desk):
    desk.memory.on_lease = raises(LoadFailed(OutOfMemory("too big", retry_after_s=5)))
    for name in ("one", "two"):
        desk.submit(name)
        assert desk.answer() == (name, OutOfMemory)


def test_a_refused_lease_is_told_to_its_own_request_alone(desk):
    def refuse_one(works):
        if works[0].id == "one":
            raise ModelBusy("all is leased")

    desk.memory.on_lease = refuse_one
    free = desk.hold()
    desk.submit("one")
    desk.submit("two")
    free.set()
    desk.answer()
    assert [desk.answer() for _ in range(2)] == [("one", ModelBusy), ("two", "weights")]


@pytest.mark.parametrize("bug", [RuntimeError("CUDA error"), SystemExit(1), KeyboardInterrupt()])
def test_a_bug_in_a_run_is_answered_and_the_next_request_runs(desk, bug):
    desk.submit("bad", raises(bug))
    desk.submit("good")
    assert desk.answer() == ("bad", InferenceFailed)
    assert desk.answer() == ("good", "weights")


def test_our_own_errors_reach_the_client_as_they_are(desk):
    desk.submit("one", raises(OutOfMemory("no room")))
    assert desk.answer() == ("one", OutOfMemory)


@pytest.mark.parametrize("bug", [RuntimeError("a bug"), SystemExit(1)])
def test_a_bug_outside_the_run_is_answered_and_the_thread_lives_on(desk, bug):
    desk.memory.on_lease = raises(bug)
    desk.submit("bad")
    assert desk.answer() == ("bad", InferenceFailed)
    desk.memory.on_lease = lambda works: None
    desk.submit("good")
    assert desk.answer() == ("good", "weights")


def test_an_answer_that_cannot_be_given_does_not_keep_the_others_from_theirs(desk):
    free = desk.hold()
    desk.submit("mute", fail=raises(OSError("the pipe is gone")))
    desk.submit("waiting")
    desk.engine.close(ShuttingDown("stop"))
    assert desk.answer() == ("waiting", ShuttingDown)
    free.set()


def test_closing_answers_what_waits_lets_the_running_one_finish_and_refuses_new_ones(desk):
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
