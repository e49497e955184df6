"""Which job is next."""

from __future__ import annotations

from typing import Any

from onebox.services.jobs.job import QueuedJob
from onebox.services.jobs.queue import JobQueue


def job(job_id: str, caller: str = "a", priority: Any = "job") -> QueuedJob:
    return QueuedJob(job_id, caller, priority, 0)


def drained(queue: JobQueue) -> list[str]:
    found = []
    while (next_job := queue.pop()) is not None:
        found.append(next_job.id)
    return found


def filled(*jobs: QueuedJob) -> JobQueue:
    queue = JobQueue()
    for each in jobs:
        queue.put(each)
    return queue


def test_each_caller_has_its_turn():
    queue = filled(job("1"), job("2"), job("3"), job("4", "b"))
    assert drained(queue) == ["1", "4", "2", "3"]


def test_batches_wait_for_jobs_and_jobs_for_what_is_urgent():
    queue = filled(job("1", priority="batch"), job("2"), job("3", priority="interactive"))
    assert drained(queue) == ["3", "2", "1"]


def test_one_that_was_taken_out_is_passed_over():
    queue = filled(job("1"), job("2"), job("3"))
    queue.discard("1")
    queue.discard("2")
    queue.discard("unknown")
    assert (len(queue), queue.head()) == (1, job("3"))
    assert drained(queue) == ["3"]


def test_one_that_waits_is_not_put_twice():
    queue = filled(job("1"), job("2"), job("1"))
    assert drained(queue) == ["1", "2"]


def test_one_that_was_taken_out_comes_back_at_the_end():
    queue = filled(job("1"), job("2"))
    queue.discard("1")
    queue.put(job("1"))
    assert (len(queue), drained(queue)) == (2, ["2", "1"])


def test_looking_at_the_next_one_leaves_it_there():
    queue = filled(job("1"))
    assert queue.head() == queue.head() == queue.pop()
    assert (queue.head(), queue.pop(), len(queue)) == (None, None, 0)
