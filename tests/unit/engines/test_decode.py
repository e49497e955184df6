from __future__ import annotations

import threading

import pytest

from onebox.core.errors import (
    Cancelled,
    InferenceFailed,
    InvalidInput,
    ModelUnloaded,
    ShuttingDown,
)
from onebox.engines.work import LoadFailed
from tests.unit.engines.fakes import BOUND_S, names


def test_a_text_is_written_token_by_token(scribe):
    scribe.start()
    scribe.text("a", 3, prompt=5)
    assert scribe.answer() == ("a", [[5, 6, 7]])
    assert scribe.decoder.steps == [["a"], ["a"], ["a"]]


def test_who_comes_later_joins_at_the_next_step(scribe):
    scribe.start()
    reached, free = scribe.paused_at(2)
    scribe.text("a", 4)
    assert reached.wait(BOUND_S)
    scribe.text("b", 2)
    free.set()
    assert dict([scribe.answer(), scribe.answer()]) == {"a": [[1, 2, 3, 4]], "b": [[1, 2]]}
    assert scribe.decoder.steps == [["a"], ["a"], ["a", "b"], ["a", "b"]]


def test_who_has_ended_leaves_and_the_others_go_on(scribe):
    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("long", 5)
    assert reached.wait(BOUND_S)
    scribe.text("short", 1)
    free.set()
    assert scribe.next_answers(2) == ["short", "long"]
    assert scribe.decoder.steps[-1] == ["long"]


def test_all_choices_of_a_request_are_written_side_by_side(scribe):
    scribe.start()
    scribe.text("a", 2, count=3)
    assert scribe.answer() == ("a", [[1, 2]] * 3)
    assert scribe.decoder.steps == [["a0", "a1", "a2"]] * 2


def test_no_more_are_written_at_once_than_may_be(scribe):
    scribe.start(most_sequences=2)
    reached, free = scribe.paused_at(1)
    scribe.text("a", 2)
    assert reached.wait(BOUND_S)
    for name in ("b", "c", "d"):
        scribe.text(name, 2)
    free.set()
    scribe.next_answers(4)
    assert max(len(step) for step in scribe.decoder.steps) == 2


def test_a_request_of_more_choices_than_may_be_is_written_alone(scribe):
    scribe.start(most_sequences=2)
    scribe.text("a", 1, count=3)
    assert scribe.answer()[0] == "a"


def test_a_cancelled_text_ends_at_the_next_step_and_no_other_does(scribe):
    scribe.start()
    reached, free = scribe.paused_at(2)
    gone = scribe.text("gone", 100)
    scribe.text("stays", 5)
    assert reached.wait(BOUND_S)
    gone.token.cancel()
    free.set()
    assert dict([scribe.answer(), scribe.answer()]) == {
        "gone": Cancelled,
        "stays": [[1, 2, 3, 4, 5]],
    }
    assert sum("gone" in step for step in scribe.decoder.steps) == 2


def test_a_cancelled_request_that_waits_never_begins(scribe):
    scribe.start(most_sequences=1)
    reached, free = scribe.paused_at(1)
    scribe.text("a", 2)
    assert reached.wait(BOUND_S)
    waiting = scribe.text("b", 2)
    waiting.token.cancel()
    scribe.engine.cancel("b")
    assert scribe.answer() == ("b", Cancelled)
    free.set()
    assert scribe.answer()[0] == "a"
    assert "b" not in scribe.decoder.begun


def test_the_errors_of_one_text_are_its_own(scribe):
    def spoil(sequence):
        if len(sequence.output) == 1:
            raise ValueError("no such text")

    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("bad", 3, on_accept=spoil)
    assert reached.wait(BOUND_S)
    scribe.text("good", 3)
    free.set()
    assert scribe.answer() == ("bad", InferenceFailed)
    assert scribe.answer() == ("good", [[1, 2, 3]])


def test_a_token_that_cannot_be_chosen_fails_its_own_text(scribe):
    error = InvalidInput("nothing fits the grammar")
    good = scribe.decoder.token
    scribe.decoder.token = lambda s: error if s.sampling == "bad" else good(s)
    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("good", 2)
    assert reached.wait(BOUND_S)
    scribe.text("bad", 2)
    free.set()
    assert dict([scribe.answer(), scribe.answer()]) == {"bad": InvalidInput, "good": [[1, 2]]}


def test_a_step_that_fails_fails_its_texts_and_the_next_request_is_served(scribe):
    def fail(_):
        scribe.decoder.before_step = lambda _: None
        raise RuntimeError("broken")

    scribe.decoder.before_step = fail
    scribe.start()
    scribe.text("a", 2)
    assert scribe.answer() == ("a", InferenceFailed)
    scribe.text("b", 2)
    assert scribe.answer()[0] == "b"


def test_a_step_that_runs_out_of_memory_is_done_again_with_fewer(scribe):
    def run_out(sequences):
        if len(sequences) > 1:
            raise MemoryError

    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("a", 3)
    assert reached.wait(BOUND_S)
    scribe.text("b", 3)
    scribe.decoder.before_step = run_out
    free.set()
    assert scribe.next_answers(2) == ["a", "b"]
    assert scribe.memory.recovered >= 1
    assert scribe.decoder.kept_dropped >= 1


def test_what_is_no_text_runs_between_two_steps(scribe):
    scribe.start()
    reached, free = scribe.paused_at(2)
    scribe.text("a", 4)
    assert reached.wait(BOUND_S)
    scribe.submit("count")
    free.set()
    assert scribe.next_answers(2) == ["count", "a"]


def test_a_request_that_cannot_be_opened_is_answered_alone(scribe):
    def refuse(works, lean):
        if works[0].id == "bad":
            raise InvalidInput("no")

    scribe.on_run = refuse
    scribe.start()
    scribe.text("bad", 1)
    assert scribe.answer() == ("bad", InvalidInput)
    scribe.text("good", 1)
    assert scribe.answer()[0] == "good"


def test_a_load_that_fails_fails_all_who_wait(scribe):
    def fail(works):
        scribe.text("b", 1)
        raise LoadFailed(ModelUnloaded("gone"))

    scribe.memory.on_lease = fail
    scribe.start()
    scribe.text("a", 1)
    assert [scribe.answer(), scribe.answer()] == [("a", ModelUnloaded), ("b", ModelUnloaded)]


def test_closing_answers_what_waits_and_lets_what_is_written_end(scribe):
    scribe.start(most_sequences=1)
    reached, free = scribe.paused_at(2)
    scribe.text("a", 3)
    assert reached.wait(BOUND_S)
    scribe.text("b", 3)
    scribe.engine.close(ShuttingDown("bye"))
    assert scribe.answer() == ("b", ShuttingDown)
    free.set()
    assert scribe.answer() == ("a", [[1, 2, 3]])
    scribe.engine.join(BOUND_S)


def test_nobody_new_begins_while_another_model_waits_for_the_memory(scribe):
    leases = []
    scribe.memory.on_lease = lambda works: leases.append(names(works))
    scribe.start()
    reached, free = scribe.paused_at(2)
    scribe.text("a", 3)
    assert reached.wait(BOUND_S)
    scribe.memory.wanted_by_others = True
    scribe.text("b", 1)
    free.set()
    assert scribe.next_answers(2) == ["a", "b"]
    assert all(step == ["a"] for step in scribe.decoder.steps[:3])
    # It had to ask again, for it was the others' turn in between.
    assert leases == ["a", "b"]


def test_what_is_no_text_does_not_lend_its_room_to_texts(scribe):
    leases = []
    reached, free = threading.Event(), threading.Event()

    def on_lease(works):
        leases.append(names(works))
        reached.set()
        assert free.wait(BOUND_S)

    scribe.memory.on_lease = on_lease
    scribe.start()
    scribe.submit("count")
    assert reached.wait(BOUND_S)
    scribe.text("a", 1)
    free.set()
    assert scribe.next_answers(2) == ["count", "a"]
    assert leases == ["count", "a"]


@pytest.mark.parametrize("count", [1, 3])
def test_a_text_that_is_complete_when_it_begins_is_answered_at_once(scribe, count):
    def complete(works, lean):
        for sequence in works[0].request.sequences:
            sequence.finish_reason = "length"

    scribe.on_run = complete
    scribe.start()
    scribe.text("a", 1, count=count)
    assert scribe.answer() == ("a", [[]] * count)
    assert scribe.decoder.steps == []
