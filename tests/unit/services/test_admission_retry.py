from __future__ import annotations

import pytest

from tests.unit.services.door import Door, refused


def test_a_refused_client_comes_back_when_the_queue_has_drained():
    door = Door(waiting=5)
    for _ in range(10):
        door.run(2.0)
    door.queue(5)
    error = refused(door)
    assert error.retry_after_s == pytest.approx(10.0)
    assert error.message.endswith("try again in 10 s")


def test_idle_time_is_not_measured():
    door = Door()
    for _ in range(3):
        door.run(2.0)
        door.now += 1000
    door.queue(5)
    assert door.retry_after_s() == pytest.approx(10.0)


def test_requests_that_end_together_count_as_so_many():
    door = Door()
    for _ in range(20):
        batch = door.queue(4)
        for ticket in batch:
            ticket.started()
        door.now += 8
        for ticket in batch:
            ticket.close(ok=True)
    door.queue(10)
    # 2 s each; the last ends weigh a little more.
    assert door.retry_after_s() == pytest.approx(20.0, rel=0.1)


def test_what_was_cut_short_is_not_measured():
    door = Door()
    door.run(2.0)
    waiting = door.queue(6)
    door.finish(waiting.pop(), 300, ok=False)
    assert door.retry_after_s() == pytest.approx(10.0)
    door.finish(waiting.pop(), 2.0)
    assert door.retry_after_s() == pytest.approx(8.0)


def test_one_that_is_cut_short_beside_another_does_not_hide_that_ones_time():
    door = Door()
    door.run(2.0)
    long, cut = door.queue(2)
    long.started()
    door.finish(cut, 4.0, ok=False)
    door.now += 2
    long.close(ok=True)
    door.queue(10)
    assert door.retry_after_s() == pytest.approx(40.0, rel=0.05)


def test_with_nothing_in_the_queue_it_is_until_the_running_one_has_ended():
    door = Door()
    door.run(20.0)
    assert door.retry_after_s() == 1.0
    door.enter().started()
    assert door.retry_after_s() == pytest.approx(20.0)


def test_recent_requests_count_more_than_old_ones():
    door = Door()
    for seconds in [10.0] * 100 + [1.0] * 200:
        door.run(seconds)
    door.queue(10)
    assert door.retry_after_s() == pytest.approx(10.0, rel=0.05)


def test_a_silence_longer_than_usual_is_believed():
    door = Door()
    door.run(1.0)
    door.enter().started()
    door.queue(10)
    assert door.retry_after_s() == pytest.approx(10.0)
    door.now += 9
    # One end in 1 s and none in 9 s.
    assert door.retry_after_s() == pytest.approx(50.0)


def test_before_any_measure_it_is_as_long_again_and_at_least_a_second():
    door = Door()
    assert door.retry_after_s() == 1.0
    door.enter().started()
    door.queue(50)
    assert door.retry_after_s() == 1.0
    door.now += 20
    door.enter()
    door.now += 10
    assert door.retry_after_s() == 30.0


def test_each_worker_has_a_pace_of_its_own():
    door = Door()
    for _ in range(5):
        door.run(9.0, worker=0, key="slow")
        door.run(2.0, worker=1, key="fast")
    door.queue(4, worker=0, key="slow")
    door.queue(4, worker=1, key="fast")
    assert door.retry_after_s(0, "slow") == pytest.approx(36.0)
    assert door.retry_after_s(1, "fast") == pytest.approx(8.0)


def test_a_slow_model_beside_a_fast_one_is_given_its_own_time():
    door = Door()
    slow = door.enter(key="slow")
    slow.started()
    for _ in range(10):
        door.run(1.0, key="fast")
    slow.close(ok=True)
    door.enter(key="slow").started()
    door.queue(3, key="slow")
    assert door.retry_after_s(0, "slow") == pytest.approx(30.0)
    assert door.retry_after_s(0, "fast") < 4


@pytest.mark.parametrize(("one_s", "expected"), [(0.001, 1.0), (500.0, 120.0)])
def test_the_wait_has_bounds(one_s, expected):
    door = Door(waiting=10)
    door.run(one_s)
    door.queue(10)
    assert refused(door).retry_after_s == expected


@pytest.mark.parametrize(("jitter", "expected"), [(0.0, 20.0), (0.4, 22.0), (1.0, 25.0)])
def test_up_to_a_quarter_is_added_so_that_clients_do_not_come_together(jitter, expected):
    door = Door(waiting=10, per_caller=10, jitter=jitter)
    door.run(2.0)
    door.queue(10)
    assert refused(door, caller="another").retry_after_s == pytest.approx(expected)


def test_a_limited_caller_comes_back_when_one_of_its_own_ends():
    door = Door(per_caller=2)
    first, second = door.queue(2)
    door.finish(first, 20.0)
    third = door.enter()
    second.started()
    assert refused(door).retry_after_s == pytest.approx(20.0)
    door.now += 15
    assert refused(door).retry_after_s == pytest.approx(5.0)
    door.now += 12
    assert refused(door).retry_after_s == pytest.approx(7.0), "late: as long again"
    third.close(ok=False)
    door.enter()


def test_another_callers_requests_do_not_change_what_a_limited_caller_is_told():
    door = Door(per_caller=1)
    door.enter(caller="slow").started()
    for _ in range(10):
        door.run(3.0, caller="fast")
    assert refused(door, caller="slow").retry_after_s == pytest.approx(30.0)
