from __future__ import annotations

import pytest

from onebox.engines.fair_queue import FairQueue


def filled(rows: str) -> FairQueue[str]:
    """'i:a1 b:c1' → an interactive item a1 of caller a, then a batch item c1 of caller c."""
    priorities = {"i": "interactive", "j": "job", "b": "batch"}
    queue: FairQueue[str] = FairQueue()
    for row in rows.split():
        priority, item = row.split(":")
        queue.put(item, caller=item[0], priority=priorities[priority])
    return queue


def drained(queue: FairQueue[str]) -> str:
    items = []
    while len(queue):
        items += queue.take([next(iter(queue))])
    return " ".join(items)


@pytest.mark.parametrize(
    ("rows", "order"),
    [
        ("", ""),
        ("i:a1 i:a2 i:a3", "a1 a2 a3"),
        ("b:a1 j:a2 i:a3", "a3 a2 a1"),
        ("i:a1 i:a2 i:a3 i:b1", "a1 b1 a2 a3"),
        ("i:a1 i:a2 i:b1 i:b2 i:c1", "a1 b1 c1 a2 b2"),
        ("j:a1 j:a2 j:b1 i:c1 b:d1", "c1 a1 b1 a2 d1"),
    ],
)
def test_by_priority_then_each_caller_in_turn(rows, order):
    queue = filled(rows)
    assert len(queue) == len(rows.split())
    assert " ".join(queue) == order
    assert drained(queue) == order
    assert len(queue) == 0


def test_a_new_caller_waits_for_one_round_at_most():
    queue = filled("i:a1 i:a2 i:a3 i:a4")
    assert queue.take(["a1"]) == ["a1"]
    queue.put("b1", caller="b", priority="interactive")
    assert drained(queue) == "a2 b1 a3 a4"


def test_removed_items_are_returned_and_the_others_keep_their_order():
    queue = filled("i:a1 i:a2 j:a3 i:b1")
    assert queue.remove(lambda item: item in ("a1", "a3")) == ["a1", "a3"]
    assert drained(queue) == "a2 b1"


def test_a_caller_with_nothing_left_leaves_no_turn_behind():
    queue = filled("i:a1 i:b1")
    assert queue.remove(lambda item: item == "a1") == ["a1"]
    assert (list(queue), len(queue)) == (["b1"], 1)
    assert drained(queue) == "b1"


def test_removing_what_is_not_there_changes_nothing():
    queue = filled("i:a1")
    assert queue.remove(lambda item: item == "x") == []
    assert drained(queue) == "a1"


def test_several_are_taken_as_if_they_had_left_one_by_one():
    queue = filled("i:a1 i:a2 i:a3 i:b1 i:b2 i:c1 j:d1")
    assert queue.take(["a1", "b1", "a2", "d1"]) == ["a1", "b1", "a2", "d1"]
    assert drained(queue) == "c1 b2 a3"


def test_what_is_not_there_any_more_is_not_taken():
    queue = filled("i:a1 i:b1")
    queue.remove(lambda item: item == "a1")
    assert queue.take(["a1", "b1"]) == ["b1"]


def test_taking_out_of_the_middle_leaves_the_earlier_ones_first():
    queue = filled("i:a1 i:a2 i:a3")
    assert queue.take(["a2"]) == ["a2"]
    assert drained(queue) == "a1 a3"


@pytest.mark.parametrize(("rows", "rank"), [("b:a1 j:b1", 1), ("i:a1 b:b1", 0), ("", 3)])
def test_the_best_rank_is_that_of_the_next_item(rows, rank):
    assert filled(rows).best_rank() == rank


def test_an_item_whose_answer_changes_while_removing_is_never_lost():
    queue = filled("i:a1 i:a2")
    answers = iter([False, True, True, True])
    removed = queue.remove(lambda _: next(answers))
    assert sorted([*removed, *queue]) == ["a1", "a2"]


def test_while_removing_all_callers_keep_their_turns():
    queue = filled("i:a1 i:a2 i:b1 i:c1")
    queue.remove(lambda item: item == "a1")
    assert drained(queue) == "a2 b1 c1"
