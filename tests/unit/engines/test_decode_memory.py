"""What a decode engine does when memory is short."""

from __future__ import annotations

import threading

from onebox.core.errors import Cancelled, ModelTooLarge, OutOfMemory
from tests.unit.engines.fakes import BOUND_S


def test_the_youngest_is_paused_when_memory_is_short_and_goes_on_later(scribe):
    scribe.decoder.room = 12
    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("old", 8)
    assert reached.wait(BOUND_S)
    scribe.text("young", 6)
    free.set()
    assert scribe.answer() == ("old", [[1, 2, 3, 4, 5, 6, 7, 8]])
    assert scribe.answer() == ("young", [[1, 2, 3, 4, 5, 6]])
    assert scribe.decoder.begun.count("old") == 1
    assert scribe.decoder.begun.count("young") == 2


def test_a_job_is_paused_before_an_older_or_younger_interactive_text(scribe):
    scribe.decoder.room = 12
    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("job", 9, priority="job")
    assert reached.wait(BOUND_S)
    scribe.text("now", 8)
    free.set()
    assert scribe.next_answers(2) == ["now", "job"]
    assert scribe.decoder.begun.count("now") == 1


def test_nobody_new_begins_while_a_paused_text_waits(scribe):
    scribe.decoder.room = 12
    scribe.start()
    reached, free = scribe.paused_at(1)
    scribe.text("old", 8)
    assert reached.wait(BOUND_S)
    scribe.text("young", 6)
    scribe.text("newest", 6)
    free.set()
    assert scribe.next_answers(3) == ["old", "young", "newest"]


def test_an_urgent_text_takes_the_place_of_a_job_when_all_are_taken(scribe):
    scribe.start(most_sequences=1)
    reached, free = scribe.paused_at(3)
    scribe.text("job", 50, priority="job")
    assert reached.wait(BOUND_S)
    scribe.text("now", 2)
    free.set()
    assert scribe.next_answers(2) == ["now", "job"]


def test_a_text_that_has_no_room_even_alone_fails_and_the_next_one_is_written(scribe):
    scribe.decoder.room = scribe.memory.working = 4
    scribe.start()
    scribe.text("long", 50)
    assert scribe.answer() == ("long", OutOfMemory)
    scribe.text("short", 2)
    assert scribe.answer()[0] == "short"


def test_a_prompt_that_can_never_have_room_is_refused(scribe):
    scribe.memory.working = 10
    scribe.start()
    scribe.text("a", 1, prompt=10)
    assert scribe.answer() == ("a", ModelTooLarge)
    assert scribe.decoder.steps == []


def test_a_text_waits_for_room_that_another_model_holds(scribe):
    """It lets go of its own meanwhile, so that two of them cannot wait for each other."""
    scribe.decoder.room = 4
    tries = []

    def let_go(sequence):
        tries.append(sequence)
        scribe.decoder.held.clear()
        if len(tries) == 3:
            scribe.decoder.room = 100

    scribe.decoder.drop = let_go
    scribe.start()
    scribe.text("long", 8)
    assert scribe.answer() == ("long", [[1, 2, 3, 4, 5, 6, 7, 8]])
    assert len(tries) >= 3


def test_a_text_that_has_waited_long_enough_for_another_model_fails(scribe):
    scribe.decoder.room = 4
    scribe.start(patience_s=0)
    scribe.text("long", 8)
    assert scribe.answer() == ("long", OutOfMemory)


def test_who_waits_for_another_model_can_be_cancelled(scribe):
    scribe.decoder.room = 4
    waits = threading.Event()

    def let_go(sequence):
        scribe.decoder.held.clear()
        waits.set()

    scribe.decoder.drop = let_go
    scribe.start()
    work = scribe.text("long", 8)
    assert waits.wait(BOUND_S)
    work.token.cancel()
    assert scribe.answer() == ("long", Cancelled)
