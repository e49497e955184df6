"""How many decoders may live at the same time."""

from __future__ import annotations

from onebox.audio.decoding.slots import Slots


class Log:
    def __init__(self) -> None:
        self.words: list[str] = []

    def note(self, word: str):
        return lambda: self.words.append(word)


def test_no_more_enter_than_there_are_slots():
    slots, log = Slots(2), Log()
    for name in "abcd":
        slots.enter(log.note(name))
    assert log.words == ["a", "b"]
    slots.leave()
    assert log.words == ["a", "b", "c"]
    slots.leave()
    slots.leave()
    slots.leave()
    slots.enter(log.note("e"))
    assert log.words == ["a", "b", "c", "d", "e"]


def test_a_parked_slot_is_taken_back_while_nobody_wants_it():
    slots, log = Slots(1), Log()
    slots.enter(log.note("a"))
    ticket = slots.park(log.note("evicted"))
    assert slots.unpark(ticket)
    slots.enter(log.note("b"))
    assert log.words == ["a"]


def test_a_parked_slot_goes_to_the_next_who_comes_the_oldest_first():
    slots, log = Slots(2), Log()
    slots.enter(log.note("a"))
    slots.enter(log.note("b"))
    old = slots.park(log.note("a is evicted"))
    new = slots.park(log.note("b is evicted"))
    slots.enter(log.note("c"))
    assert log.words == ["a", "b", "a is evicted", "c"]
    assert not slots.unpark(old)
    assert slots.unpark(new)


def test_a_slot_is_not_parked_while_others_wait():
    slots, log = Slots(1), Log()
    slots.enter(log.note("a"))
    slots.enter(log.note("b"))
    assert slots.park(log.note("evicted")) is None
    assert log.words == ["a", "evicted", "b"]
