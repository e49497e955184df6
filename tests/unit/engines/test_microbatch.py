from __future__ import annotations

import threading

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import (
    Cancelled,
    InferenceFailed,
    ModelTooLarge,
    OutOfMemory,
    ShuttingDown,
)
from onebox.engines.microbatch import Merging, MicrobatchEngine
from onebox.engines.window import Window
from onebox.engines.work import LoadFailed
from tests.unit.engines.fakes import BOUND_S, names, until

LONG_S = 1000.0


class Clock:
    """Stands still, and notes which threads have read it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.readers: set[threading.Thread] = set()

    def __call__(self) -> float:
        self.readers.add(threading.current_thread())
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def engine(desk, clock):
    return desk.open(MicrobatchEngine, max_window_s=LONG_S, clock=clock)


@pytest.fixture
def busy(desk, engine, clock):
    """The last batch was of three and took long: the next one waits to be filled."""

    def runs_long(works, lean):
        clock.now += 100 * LONG_S

    desk.on_run = runs_long
    free = desk.hold()
    submit_all(desk, "u v w")
    free.set()
    desk.next_answers(4)
    until(lambda: not desk.engine.busy())
    desk.runs.clear()


def submit_all(desk, words, **fields):
    return [desk.submit(word, **({"batch_key": "k"} | fields)) for word in words.split()]


@pytest.mark.parametrize(
    ("waiting", "chosen"),
    [
        ("a", "a"),
        ("a b c", "a b c"),
        ("a:key=None b", "a"),
        ("a:key=None b:key=None", "a"),
        ("a b:key='other' c", "a c"),
        ("a b:key=None c", "a c"),
        ("a:items=4 b:items=3 c:items=2 d", "a b d"),
        ("a:items=9 b", "a"),
        ("a b:most=2 c", "a b"),
        ("a b c:most=2", "a b"),
        ("a:size=60 b:size=30 c:size=30 d:size=10", "a b d"),
        ("a:size=500 b", "a"),
        ("a b:priority='job'", "a"),
    ],
)
def test_equal_keys_are_merged_in_order_within_the_limits(desk, waiting, chosen):
    renamed = {"key": "batch_key", "most": "max_items", "size": "reserve_bytes"}
    works = []
    for word in waiting.split():
        name, _, pair = word.partition(":")
        fields = {"batch_key": "k"}
        if pair:
            field, _, value = pair.partition("=")
            fields[renamed.get(field, field)] = eval(value)
        works.append(desk.work(name, **fields))
    merging = Merging(lambda work: 100, Window(0))
    assert names(merging.choose(works)) == chosen


def test_what_piled_up_runs_as_one_under_one_lease(desk, engine):
    leased = []
    desk.memory.on_lease = lambda works: leased.append(names(works))
    free = desk.hold()
    submit_all(desk, "a1 a2 a3")
    submit_all(desk, "b1", caller="b")
    free.set()
    assert desk.next_answers(5) == ["held", "a1", "b1", "a2", "a3"]
    assert desk.runs == leased == ["held", "a1 b1 a2 a3"]


def test_one_poisoned_request_fails_alone(desk, engine):
    def poison(works, lean):
        if "bad" in names(works):
            raise RuntimeError

    desk.on_run = poison
    free = desk.hold()
    submit_all(desk, "a bad c")
    free.set()
    desk.answer()
    assert dict(desk.answer() for _ in range(3)) == {
        "a": "weights",
        "bad": InferenceFailed,
        "c": "weights",
    }


def test_the_rest_is_the_next_batch(desk, engine):
    free = desk.hold()
    submit_all(desk, "a b c d e", max_items=2)
    free.set()
    desk.next_answers(6)
    assert desk.runs == ["held", "a b", "c d", "e"]


def test_what_was_stopped_takes_no_place_in_a_batch(desk, engine):
    token = CancelToken()
    free = desk.hold()
    submit_all(desk, "late", token=token, max_items=2)
    submit_all(desk, "a b", max_items=2)
    token.cancel()
    free.set()
    assert [desk.answer() for _ in range(4)] == [
        ("held", "weights"),
        ("late", Cancelled),
        ("a", "weights"),
        ("b", "weights"),
    ]
    assert desk.runs == ["held", "a b"]


def test_who_leaves_while_the_lease_is_waited_for_does_not_take_the_others_along(desk, engine):
    def refuse(works):
        if len(works) == 3:
            works[0].token.cancel()
            raise Cancelled("a client left")

    desk.memory.on_lease = refuse
    free = desk.hold()
    submit_all(desk, "a b c")
    free.set()
    desk.answer()
    assert [desk.answer() for _ in range(3)] == [
        ("a", Cancelled),
        ("b", "weights"),
        ("c", "weights"),
    ]


def test_too_large_together_is_not_too_large(desk, engine):
    def refuse(works):
        if len(works) > 1:
            raise ModelTooLarge("too much")

    desk.memory.on_lease = refuse
    free = desk.hold()
    submit_all(desk, "a b c")
    free.set()
    desk.next_answers(4)
    assert desk.runs == ["held", "a", "b", "c"]


def test_a_failed_load_is_told_to_the_batch_and_to_all_who_wait(desk, engine):
    def fail(works):
        if works[0].id != "held":
            raise LoadFailed(OutOfMemory("too big"))

    desk.memory.on_lease = fail
    free = desk.hold()
    submit_all(desk, "a b")
    submit_all(desk, "c", batch_key=None)
    free.set()
    desk.answer()
    assert [desk.answer() for _ in range(3)] == [(name, OutOfMemory) for name in "abc"]


def test_a_lone_request_starts_at_once(desk, engine):
    for name in ("one", "two", "three"):
        submit_all(desk, name)
        assert desk.answer() == (name, "weights")


@pytest.mark.usefixtures("busy")
def test_under_load_a_batch_waits_until_as_many_are_there_as_last_time(desk):
    submit_all(desk, "a b c")
    desk.next_answers(3)
    assert desk.runs == ["a b c"]


@pytest.mark.usefixtures("busy")
def test_a_full_batch_goes_at_once(desk):
    submit_all(desk, "a b", max_items=2)
    desk.next_answers(2)
    assert desk.runs == ["a b"]


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("other", [{"batch_key": None}, {"batch_key": "other"}])
def test_nobody_waits_for_others_to_fill_a_batch(desk, other):
    submit_all(desk, "a")
    submit_all(desk, "b", **other)
    assert desk.next_answers(2) == ["a", "b"]


@pytest.mark.usefixtures("busy")
def test_what_is_more_urgent_goes_before_a_batch_that_is_being_filled(desk):
    submit_all(desk, "a", priority="job")
    submit_all(desk, "urgent")
    assert desk.next_answers(2) == ["urgent", "a"]


@pytest.mark.usefixtures("busy")
def test_a_batch_that_is_being_filled_still_waits_and_can_be_cancelled(desk):
    submit_all(desk, "a b")
    assert (desk.engine.waiting(), desk.engine.busy()) == (2, True)
    desk.engine.cancel("a")
    assert desk.answer() == ("a", Cancelled)
    desk.engine.close(ShuttingDown("stop"))
    assert desk.answer() == ("b", ShuttingDown)
    desk.engine.join(BOUND_S)
    assert (desk.runs, desk.engine.busy()) == ([], False)


@pytest.mark.usefixtures("busy")
def test_when_its_time_is_up_a_batch_goes_as_it_is(desk, clock):
    clock.readers.clear()
    submit_all(desk, "a")
    until(lambda: desk.engine._thread in clock.readers)
    clock.now += LONG_S
    submit_all(desk, "b")
    assert desk.next_answers(2) == ["a", "b"]
    assert desk.runs == ["a b"]
