from __future__ import annotations

import weakref

import pytest
from structlog.testing import capture_logs

from onebox.core.errors import (
    Cancelled,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelUnloaded,
    OutOfMemory,
)
from onebox.core.logs import Origin, add_origins
from onebox.engines.attempt import Attempt
from tests.unit.engines.fakes import Desk


@pytest.fixture
def desk():
    return Desk()


@pytest.fixture
def run(desk):
    """Runs works of these names (or works) and gives their answers."""

    def run(*works, lean=False):
        works = [desk.work(work) if isinstance(work, str) else work for work in works]
        attempt = Attempt(desk.run, desk.memory.recover, "weights", lambda lean: None)
        attempt.run(works, lean=lean)
        return dict(desk.answers.queue)

    return run


class Heavy:
    """Stands for a tensor."""


def exhausted(*, above: int, lean_above: int):
    """Memory runs out on more works than this."""

    def on_run(works, lean):
        if len(works) > (lean_above if lean else above):
            raise MemoryError

    return on_run


def poisoned(error, *poison):
    def on_run(works, lean):
        if any(work.id in poison for work in works):
            raise error

    return on_run


def test_what_runs_well_runs_once(desk, run):
    assert run("a", "b") == {"a": "weights", "b": "weights"}
    assert (desk.runs, desk.memory.recovered) == (["a b"], 0)


def test_out_of_memory_alone_is_tried_once_more_lean(desk, run):
    desk.on_run = exhausted(above=0, lean_above=1)
    assert run("a") == {"a": "weights"}
    assert (desk.runs, desk.memory.recovered) == (["a", "a lean"], 1)


def test_out_of_memory_in_a_batch_is_tried_again_in_lean_halves(desk, run):
    desk.on_run = exhausted(above=1, lean_above=2)
    assert run("a", "b", "c") == dict.fromkeys("abc", "weights")
    assert (desk.runs, desk.memory.recovered) == (["a b c", "a b lean", "c lean"], 1)


def test_out_of_memory_to_the_end_is_told_and_memory_is_left_clean(desk, run):
    desk.on_run = exhausted(above=0, lean_above=0)
    assert run("a", "b") == {"a": OutOfMemory, "b": OutOfMemory}
    assert desk.runs == ["a b", "a lean", "b lean"]
    assert desk.memory.recovered == len(desk.runs)


def test_the_last_word_on_memory_names_the_number_and_advises_against_a_retry(desk, run):
    told = []
    desk.on_run = exhausted(above=0, lean_above=0)
    run(desk.work("a", reserve_bytes=123, fail=told.append))
    (error,) = told
    assert "123 bytes" in error.message
    assert (error.should_retry, error.retry_after_s) == (False, None)


def test_nothing_of_the_failed_run_is_held_while_memory_recovers(desk, run):
    alive = []

    def on_run(works, lean):
        if lean:
            return
        tensor, cause = Heavy(), Heavy()
        alive.extend([weakref.ref(tensor), weakref.ref(cause)])
        try:
            raise KeyError(cause.__class__)
        except KeyError as error:
            raise MemoryError from error

    desk.on_run = on_run
    held = []
    desk.memory.on_recover = lambda: held.extend(ref() for ref in alive)
    assert run("a") == {"a": "weights"}
    assert held == [None, None]


def test_nothing_of_a_broken_batch_is_held_while_its_halves_run(desk, run):
    alive, held = [], []

    def on_run(works, lean):
        held.extend(ref() for ref in alive)
        tensor = Heavy()
        if len(works) > 1:
            alive.append(weakref.ref(tensor))
            raise RuntimeError

    desk.on_run = on_run
    run("a", "b")
    assert held == [None, None]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("a bug"), InferenceFailed),
        (SystemExit(1), InferenceFailed),
        (KeyboardInterrupt(), InferenceFailed),
        (InvalidInput("too long"), InvalidInput),
        (OutOfMemory("no room"), OutOfMemory),
    ],
)
def test_one_poisoned_request_fails_alone(desk, run, error, told):
    desk.on_run = poisoned(error, "c")
    answers = run(*"abcdefgh")
    assert answers == dict.fromkeys("abdefgh", "weights") | {"c": told}
    assert desk.runs == ["a b c d e f g h", "a b c d", "a b", "c d", "c", "d", "e f g h"]
    assert desk.memory.recovered == 0


def test_several_poisoned_requests_fail_alone(desk, run):
    desk.on_run = poisoned(ValueError("bad"), "a", "d")
    assert run(*"abcd") == {
        "a": InferenceFailed,
        "b": "weights",
        "c": "weights",
        "d": InferenceFailed,
    }


def test_a_single_failure_is_not_tried_again(desk, run):
    desk.on_run = poisoned(RuntimeError("a bug"), "a")
    assert run("a") == {"a": InferenceFailed}
    assert desk.runs == ["a"]


def test_a_bug_in_a_lean_run_keeps_its_halves_lean(desk, run):
    desk.on_run = poisoned(ValueError("bad"), "a")
    assert run("a", "b", lean=True) == {"a": InferenceFailed, "b": "weights"}
    assert desk.runs == ["a b lean", "a lean", "b lean"]


def test_what_was_stopped_before_does_not_run(desk, run):
    works = [desk.work(name) for name in "ab"]
    works[0].token.cancel(DeadlineExceeded("too late"))
    assert run(*works) == {"a": DeadlineExceeded, "b": "weights"}
    assert desk.runs == ["b"]


def test_when_nobody_is_left_each_gets_its_own_reason(desk, run):
    works = [desk.work(name) for name in "abc"]

    def on_run(running, lean):
        works[0].token.cancel()
        works[1].token.cancel(DeadlineExceeded("too late"))
        works[2].token.cancel(ModelUnloaded("by force"))
        raise works[0].token.stopped()

    desk.on_run = on_run
    assert run(*works) == {"a": Cancelled, "b": DeadlineExceeded, "c": ModelUnloaded}
    assert desk.runs == ["a b c"]


def test_those_who_left_are_dropped_before_the_others_run_again(desk, run):
    works = [desk.work(name) for name in "abcd"]

    def on_run(running, lean):
        if len(running) == 4:
            works[1].token.cancel()
            raise RuntimeError

    desk.on_run = on_run
    assert run(*works) == {"a": "weights", "b": Cancelled, "c": "weights", "d": "weights"}
    assert desk.runs == ["a b c d", "a c", "d"]


def test_the_last_one_left_of_a_broken_batch_is_tried_alone(desk, run):
    works = [desk.work(name) for name in "ab"]

    def on_run(running, lean):
        if len(running) == 2:
            works[0].token.cancel()
            raise RuntimeError

    desk.on_run = on_run
    assert run(*works) == {"a": Cancelled, "b": "weights"}


def test_whatever_a_cancelled_run_raises_its_reason_is_told(desk, run):
    work = desk.work("a")

    def on_run(running, lean):
        work.token.cancel()
        raise RuntimeError("a library's own words for it")

    desk.on_run = on_run
    assert run(work) == {"a": Cancelled}


def test_what_left_while_memory_ran_out_is_not_tried_again_but_memory_recovers(desk, run):
    work = desk.work("a")

    def on_run(running, lean):
        work.token.cancel()
        raise MemoryError

    desk.on_run = on_run
    assert run(work) == {"a": Cancelled}
    assert (desk.runs, desk.memory.recovered) == (["a"], 1)


def test_between_steps_it_is_told_whether_the_run_is_lean(desk):
    told = []

    def request(bundle, between_steps):
        between_steps()
        if len(told) == 1:
            raise MemoryError

    Attempt(desk.run, desk.memory.recover, "weights", told.append).run([desk.work("a", request)])
    assert told == [False, True]


def test_the_log_of_a_failure_names_those_whose_it_is(desk, run):
    desk.on_run = poisoned(RuntimeError("broken"), "b")
    with capture_logs(processors=[add_origins]) as logs:
        run(*(desk.work(name, origin=Origin(f"request-{name}")) for name in "ab"))
    assert logs[0]["request_ids"] == ["request-a", "request-b"]
    assert logs[1]["request_id"] == "request-b"
