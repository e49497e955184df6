"""Who leaves a piecewise engine, who waits for room in it, and that nobody else pays for that."""

from __future__ import annotations

import threading

import pytest

from onebox.core.cancel import CancelToken
from onebox.core.errors import Cancelled, DeadlineExceeded, InvalidInput, OutOfMemory
from tests.unit.engines.fakes import BOUND_S


def cancel(cutter, name, token):
    token.cancel()
    cutter.engine.cancel(name)


@pytest.mark.parametrize("way", ["fails", "ends", "is cancelled"])
def test_the_place_of_one_that_leaves_is_taken_at_once(cutter, way):
    cutter.open_at_once = 2
    token = CancelToken()
    leaver = cutter.cut("a", 1, given=0, token=token)
    stays = cutter.cut("b", 1, given=0)
    assert leaver.asked.wait(BOUND_S)
    assert stays.asked.wait(BOUND_S)
    cutter.cut("c", 1)
    if way == "fails":

        def damaged():
            raise InvalidInput("the file is damaged")

        leaver.on_ready = damaged
        leaver.wake()
    elif way == "ends":
        leaver.give_up()
    else:
        cancel(cutter, "a", token)
    assert set(cutter.next_answers(2)) == {"a", "c"}
    stays.give()


def test_one_whose_time_is_over_waits_no_longer_for_a_place(cutter):
    cutter.open_at_once = 1
    holds = cutter.cut("a", 1, given=0)
    assert holds.asked.wait(BOUND_S)
    cutter.cut("b", 1, token=CancelToken(0.05))
    assert cutter.answer() == ("b", DeadlineExceeded)
    holds.give()


def test_a_bundle_is_loaded_while_all_places_are_taken(cutter):
    cutter.open_at_once = 1
    holds = cutter.cut("a", 1, given=0)
    assert holds.asked.wait(BOUND_S)
    cutter.cut("b", 1)
    cutter.submit("load")
    assert cutter.answer() == ("load", "weights")
    holds.give()


def test_whoever_waits_for_room_holds_nothing_that_others_may_wait_for(cutter):
    """Also who only wants the bundle loaded."""
    held = []

    def no_room(pieces, lean):
        if "a4" in pieces:
            cutter.memory.has_room_now = False
            cutter.submit("load")

    cutter.on_round = no_room
    cutter.memory.on_lease = lambda works: held.append(list(cutter.memory.out))
    cutter.cut("a", 12)
    cutter.next_answers(2)
    assert held[0] == []


def test_one_is_cancelled_at_once_while_the_engine_waits_for_room_for_others(cutter):
    free = cutter.hold_round()
    waits, room = threading.Event(), threading.Event()

    def wait(works):
        waits.set()
        assert room.wait(BOUND_S)

    cutter.memory.on_lease = wait
    cutter.memory.has_room_now = False
    token = CancelToken()
    cutter.cut("a", 1, kind="x")
    cutter.cut("b", 1, kind="y", token=token)
    free.set()
    assert cutter.answer()[0] == "held"
    assert waits.wait(BOUND_S)
    cancel(cutter, "b", token)
    assert cutter.answer() == ("b", Cancelled)
    room.set()
    assert cutter.answer() == ("a", ["A0"])
    assert cutter.rounds == ["a0"]


def test_one_that_is_being_computed_is_answered_only_when_that_ends(cutter):
    """Else nobody would notice a computation that hangs."""
    token = CancelToken()
    computing, free = threading.Event(), threading.Event()

    def wait(pieces, lean):
        computing.set()
        assert free.wait(BOUND_S)

    cutter.on_round = wait
    cutter.cut("a", 40, token=token)
    assert computing.wait(BOUND_S)
    cancel(cutter, "a", token)
    assert cutter.answers.empty()
    free.set()
    assert cutter.answer() == ("a", Cancelled)


def test_one_that_has_begun_is_not_refused_because_others_hold_its_room_for_long(cutter):
    asked = []

    def busy(works):
        asked.append(works)
        if len(asked) < 3:
            raise OutOfMemory("others hold it")

    def no_room(pieces, lean):
        cutter.memory.has_room_now = False

    cutter.on_round = no_room
    cutter.memory.on_lease = busy
    cutter.cut("a", 8)
    assert cutter.answer()[1] == [f"A{n}" for n in range(8)]
    assert len(asked) == 3


def test_one_that_has_not_begun_is_refused_when_there_is_no_room_for_long(cutter):
    def busy(works):
        raise OutOfMemory("others hold it")

    cutter.memory.has_room_now = False
    cutter.memory.on_lease = busy
    cutter.cut("a", 8)
    assert cutter.answer() == ("a", OutOfMemory)
