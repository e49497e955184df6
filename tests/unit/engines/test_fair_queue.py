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
    while (item := queue.pop()) is not None:
        items.append(item)
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
    assert drained(queue) == order
    assert len(queue) == 0


def test_a_new_caller_waits_for_one_round_at_most():
    queue = filled("i:a1 i:a2 i:a3 i:a4")
    assert queue.pop() == "a1"
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
