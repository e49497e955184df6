from __future__ import annotations

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import (
    Cancelled,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelTooLarge,
    OutOfMemory,
    ShuttingDown,
)
from onebox.engines.work import LoadFailed
from tests.unit.engines.fakes import BOUND_S, until


def raises(error):
    def call(*_):
        raise error

    return call


def test_pieces_of_many_requests_are_computed_in_one_round_by_turns(cutter):
    free = cutter.hold_round()
    cutter.cut("a", 3)
    cutter.cut("b", 2)
    free.set()
    cutter.next_answers(3)
    assert cutter.rounds == ["a0 b0 a1 b1", "a2"]


def test_a_request_gets_its_results_in_the_end(cutter):
    cutter.cut("a", 3)
    assert cutter.answer() == ("a", ["A0", "A1", "A2"])


def test_a_short_request_that_comes_later_ends_before_a_long_one(cutter):
    free = cutter.hold_round()
    cutter.cut("long", 40)
    cutter.cut("short", 1)
    free.set()
    assert cutter.next_answers(3) == ["held", "short", "long"]


def test_requests_join_between_rounds(cutter):
    joined = []

    def join(pieces, lean):
        if "a4" in pieces and not joined:
            joined.append(cutter.cut("b", 1))

    cutter.on_round = join
    cutter.cut("a", 12)
    assert cutter.next_answers(2) == ["b", "a"]


def test_only_pieces_of_one_kind_and_one_task_go_together(cutter):
    free = cutter.hold_round()
    cutter.cut("a", 2, kind="x")
    cutter.cut("b", 2, kind="y")
    cutter.cut("c", 2, kind="x", batch_key=("other", ()))
    free.set()
    cutter.next_answers(4)
    assert sorted(cutter.rounds) == ["a0 a1", "b0 b1", "c0 c1"]


def test_callers_get_their_rounds_by_turns_however_many_requests_they_have(cutter):
    cutter.most = 1
    free = cutter.hold_round()
    for name in "uvw":
        cutter.cut(name, 2, caller="many")
    cutter.cut("x", 2, caller="one")
    free.set()
    cutter.next_answers(5)
    assert cutter.rounds.index("x1") < 5


def test_the_more_urgent_goes_first_and_alone(cutter):
    free = cutter.hold_round()
    cutter.cut("slow", 2, priority="batch")
    cutter.cut("quick", 6)
    free.set()
    assert cutter.next_answers(3) == ["held", "quick", "slow"]
    assert cutter.rounds == ["quick0 quick1 quick2 quick3", "quick4 quick5", "slow0 slow1"]


def test_only_so_many_are_open_but_the_more_urgent_always(cutter):
    cutter.open_at_once = 1
    first = cutter.cut("a", 1, given=0, priority="job")
    assert first.asked.wait(BOUND_S)
    second = cutter.cut("b", 1, priority="job")
    cutter.cut("c", 1)
    assert cutter.answer()[0] == "c"
    assert not second.asked.is_set()
    first.give()
    assert cutter.next_answers(2) == ["a", "b"]


def test_a_request_whose_pieces_come_later_keeps_nobody_waiting(cutter):
    late = cutter.cut("late", 2, given=1)
    cutter.cut("b", 1)
    until(lambda: late.got.keys() == {"late0"})
    assert cutter.answer()[0] == "b"
    until(lambda: cutter.memory.out == [])
    late.give()
    assert cutter.answer() == ("late", ["LATE0", "LATE1"])


def test_a_request_without_any_piece_is_answered_at_once(cutter):
    cutter.cut("none", 0)
    assert cutter.answer() == ("none", [])
    assert cutter.rounds == []


@pytest.mark.parametrize("given", [0, 1])
def test_a_request_that_waited_for_pieces_and_gets_none_has_ended(cutter, given):
    cut = cutter.cut("a", 3, given=given)
    until(lambda: cut.asked.is_set() and len(cut.got) == given)
    cut.give_up()
    assert cutter.answer() == ("a", ["A0"][:given])


def test_one_that_waits_for_pieces_is_dropped_when_it_is_cancelled(cutter):
    token = CancelToken()
    cut = cutter.cut("a", 1, given=0, token=token)
    assert cut.asked.wait(BOUND_S)
    token.cancel()
    cutter.engine.cancel("a")
    assert cutter.answer() == ("a", Cancelled)
    until(lambda: not cutter.engine.busy())


def test_one_that_waits_for_pieces_is_dropped_when_its_time_is_over(cutter):
    cutter.cut("a", 1, given=0, token=CancelToken(0.05))
    assert cutter.answer() == ("a", DeadlineExceeded)


def test_what_is_cancelled_between_rounds_is_computed_no_further(cutter):
    token = CancelToken()
    cutter.on_round = lambda pieces, lean: token.cancel()
    cutter.cut("a", 40, token=token)
    assert cutter.answer() == ("a", Cancelled)
    until(lambda: not cutter.engine.busy())
    assert len(cutter.rounds) == 1


def test_a_piece_that_fails_by_itself_ends_its_own_request_alone(cutter):
    free = cutter.hold_round()
    cutter.bad["b1"] = InvalidInput("poison")
    cutter.cut("a", 3)
    cutter.cut("b", 3)
    free.set()
    answers = dict(cutter.answer() for _ in range(3))
    assert answers["b"] is InvalidInput
    assert answers["a"] == ["A0", "A1", "A2"]


def test_a_round_that_breaks_is_tried_in_halves_until_the_culprit_is_alone(cutter):
    free = cutter.hold_round()

    def breaks(pieces, lean):
        if "c0" in pieces:
            raise RuntimeError("poison")

    cutter.on_round = breaks
    for name in "abcd":
        cutter.cut(name, 1)
    free.set()
    answers = dict(cutter.answer() for _ in range(5))
    assert answers.pop("c") is InferenceFailed
    assert answers.pop("held") == ["HELD0"]
    assert answers == {"a": ["A0"], "b": ["B0"], "d": ["D0"]}


def test_what_a_request_raises_of_its_pieces_is_its_own_end(cutter):
    free = cutter.hold_round()
    cutter.cut("a", 2, on_ready=raises(InvalidInput("the file is damaged")))
    cutter.cut("b", 2, on_accept=raises(RuntimeError("a bug")))
    cutter.cut("c", 2)
    free.set()
    answers = dict(cutter.answer() for _ in range(4))
    assert answers == {
        "held": ["HELD0"],
        "a": InvalidInput,
        "b": InferenceFailed,
        "c": ["C0", "C1"],
    }


def test_memory_that_runs_out_is_given_back_and_the_round_repeated_leaner(cutter):
    def runs_out(pieces, lean):
        if not lean:
            raise MemoryError

    cutter.on_round = runs_out
    cutter.cut("a", 2)
    assert cutter.answer() == ("a", ["A0", "A1"])
    assert cutter.rounds == ["a0 a1", "a0 a1 lean"]
    assert cutter.memory.recovered == 1


def test_memory_that_runs_out_for_good_ends_the_request(cutter):
    cutter.on_round = raises(MemoryError())
    cutter.cut("a", 2)
    assert cutter.answer() == ("a", OutOfMemory)


def test_a_failed_load_ends_all_that_wait_for_it(cutter):
    free = cutter.hold_round()
    cutter.memory.has_room_now = False
    cutter.memory.on_lease = raises(LoadFailed(InvalidInput("broken")))
    cutter.open_at_once = 2
    for name in "abc":
        cutter.cut(name, 1)
    free.set()
    assert sorted(cutter.next_answers(4)) == ["a", "b", "c", "held"]


def test_too_many_at_once_for_the_memory_are_computed_one_by_one(cutter):
    def lease(works):
        if len(works) > 1:
            raise ModelTooLarge("too many")

    free = cutter.hold_round()
    cutter.memory.has_room_now = False
    cutter.memory.on_lease = lease
    cutter.cut("a", 1)
    cutter.cut("b", 1)
    free.set()
    assert dict(cutter.answer() for _ in range(3))["b"] == ["B0"]
    assert cutter.rounds == ["a0", "b0"]


def test_a_round_sets_aside_what_its_most_demanding_request_takes(cutter):
    free = cutter.hold_round()
    asked = []
    cutter.memory.has_room_now = False
    cutter.memory.on_lease = lambda works: asked.append([work.reserve_bytes for work in works])
    for name, reserve_bytes in (("a", 2), ("b", 3), ("c", 1)):
        cutter.cut(name, 1, reserve_bytes=reserve_bytes)
    free.set()
    cutter.next_answers(4)
    assert cutter.rounds == ["a0 b0 c0"]
    assert asked == [[0, 3, 0]]


@pytest.mark.parametrize("wanted", [False, True])
def test_the_weights_stay_between_rounds_unless_others_wait_for_room(cutter, wanted):
    cutter.memory.wanted_by_others = wanted
    held_before_round = []
    cutter.on_round = lambda pieces, lean: held_before_round.append(len(cutter.memory.out))
    cutter.cut("a", 12)
    cutter.answer()
    assert held_before_round == ([1, 1, 1] if wanted else [2, 2, 2])


def test_a_bundle_that_is_only_to_be_loaded_is_loaded(cutter):
    cutter.submit("load")
    assert cutter.answer() == ("load", "weights")


def test_closing_fails_what_waits_and_lets_finish_what_runs(cutter):
    cutter.open_at_once = 1
    free = cutter.hold_round()
    cutter.cut("waits", 1)
    cutter.engine.close(ShuttingDown("bye"))
    assert cutter.answer() == ("waits", ShuttingDown)
    free.set()
    assert cutter.answer() == ("held", ["HELD0"])
    cutter.engine.join(BOUND_S)


def test_a_bug_in_the_choice_ends_the_requests_and_not_the_engine(cutter):
    cutter.most = 0
    cutter.cut("a", 1)
    assert cutter.answer() == ("a", InferenceFailed)
    cutter.most = 4
    cutter.cut("b", 1)
    assert cutter.answer() == ("b", ["B0"])
