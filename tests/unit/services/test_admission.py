from __future__ import annotations

import contextlib

import pytest

from onebox.core.errors import ConcurrencyLimited, QueueFull
from tests.unit.services.door import Door, refused


def test_a_worker_lets_only_so_many_wait_and_another_is_not_touched():
    door = Door(waiting=2)
    door.queue(2)
    error = refused(door, key="other")
    assert isinstance(error, QueueFull)
    assert error.details == {"waiting": 2, "max": 2, "queue": "worker 0"}
    assert error.message == "2 requests wait for worker 0, at most 2 may; try again in 1 s"
    door.enter(worker=1)


def test_only_so_many_wait_for_a_worker_to_come_up():
    admission = Door(waiting=1).admission
    with admission.lobby():
        with pytest.raises(QueueFull) as caught, admission.lobby():
            pass
        assert caught.value.details == {"waiting": 1, "max": 1, "queue": "lobby"}
        assert caught.value.retry_after_s
    with admission.lobby():
        pass


def test_a_model_lets_only_so_many_wait_over_all_workers():
    door = Door(per_model=2)
    door.enter(worker=0)
    door.enter(worker=1)
    error = refused(door, worker=2)
    assert isinstance(error, QueueFull)
    assert error.details == {"waiting": 2, "max": 2, "queue": "model name-of-k"}
    door.enter(worker=2, key="other")


def test_a_caller_holds_only_so_many_running_or_not():
    door = Door(per_caller=2)
    first, _ = door.queue(2)
    first.started()
    error = refused(door, worker=1, key="other")
    assert isinstance(error, ConcurrencyLimited)
    assert error.details == {"requests": 2, "max": 2}
    assert "you have 2 requests that wait or run, at most 2 are allowed" in error.message
    door.enter(caller="another")
    first.close(ok=True)
    door.enter()


def test_without_a_limit_a_caller_holds_any_number():
    assert len(Door().queue(500)) == 500


def test_whoever_gets_the_device_makes_room_in_the_queue():
    door = Door(waiting=1, per_model=1)
    ticket = door.enter()
    refused(door)
    ticket.started()
    door.enter()
    refused(door)


def test_whoever_leaves_the_queue_makes_room_in_it():
    door = Door(waiting=1, per_model=1)
    door.enter().close(ok=False)
    door.enter()


def test_a_refused_request_is_not_counted():
    door = Door(waiting=1, per_caller=1)
    ticket = door.enter()
    refused(door)
    refused(door, caller="another")
    ticket.close(ok=True)
    assert door.admission.waiting() == 0
    door.enter(caller="another")


def test_only_the_first_start_and_the_first_close_count():
    door = Door(waiting=2)
    ticket, _ = door.queue(2)
    for _ in range(2):
        ticket.started()
    assert door.admission.waiting() == 1
    for _ in range(2):
        ticket.close(ok=True)
    ticket.started()
    assert door.admission.waiting() == 1
    assert door.admission.waiting(0, "k") == 1


def test_a_with_block_closes_at_its_end():
    door = Door(per_caller=1)
    with door.enter() as ticket:
        ticket.started()
        door.now += 40
    with contextlib.suppress(KeyError), door.enter() as ticket:
        ticket.started()
        door.now += 5
        raise KeyError
    door.enter()
    assert door.retry_after_s() == 40, "the one that raised is not measured"


def test_waiting_is_counted_in_all_by_worker_by_model_and_both():
    door = Door()
    door.queue(3, worker=0, key="a")
    door.queue(2, worker=0, key="b")
    door.queue(1, worker=1, key="a")
    door.enter(worker=1, key="b").started()
    waiting = door.admission.waiting
    assert waiting() == 6
    assert (waiting(0), waiting(1), waiting(2)) == (5, 1, 0)
    assert (waiting(key="a"), waiting(key="b"), waiting(key="c")) == (4, 2, 0)
    assert (waiting(0, "a"), waiting(1, "a"), waiting(1, "b"), waiting(2, "c")) == (3, 1, 0, 0)


def test_callers_are_forgotten_when_they_have_nothing_left():
    door = Door()
    for number in range(50):
        door.run(1.0, caller=f"c{number}")
        door.enter(caller=f"c{number}").close(ok=False)
    assert not door.admission._callers
    assert not door.admission._waiting
