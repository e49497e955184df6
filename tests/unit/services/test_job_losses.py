"""Attempts that do not come to an end, and servers that do not."""

from __future__ import annotations

import asyncio

import pytest

from onebox.services.jobs.job import QueuedJob
from tests.unit.services.job_kit import begin, finish, insert, lying


def test_a_lost_attempt_is_made_again(kit):
    store = kit.store()

    async def act():
        job = await begin(store, blobs={"image": b"x"})
        await asyncio.to_thread(kit.files._write, job.id, f"{job.fence}-0", b"of the lost one")
        waits = await store.release(job, counted=True)
        files = lying(kit, job)
        return waits, files, await store.claim(job.id), job

    waits, files, again, first = asyncio.run(act())
    assert (waits.state, waits.attempt, waits.lost, waits.fence) == ("queued", 1, 1, None)
    assert files == ["in-image"]
    assert (again.attempt, again.lost) == (2, 1)
    assert again.fence != first.fence


def test_the_third_lost_attempt_is_the_last(kit):
    store = kit.store()

    async def act():
        job = await insert(store)
        for _ in range(3):
            attempt = await store.claim(job.id)
            job = await store.release(attempt, counted=True)
        return job, await store.claim(job.id), await store.events(job.id)

    job, again, events = asyncio.run(act())
    assert (job.state, job.attempt, job.lost) == ("failed", 3, 3)
    assert job.error["code"] == "worker_lost"
    assert again is None
    assert [event.type for event in events][-3:] == ["retried", "started", "failed"]
    assert job.expires_at is not None


def test_the_last_attempt_can_say_what_it_failed_with(kit):
    store, error = kit.store(), {"code": "insufficient_memory", "message": "m", "param": None}

    async def act():
        job = await insert(store)
        for _ in range(3):
            job = await store.release(await store.claim(job.id), counted=True, error=error)
        return job

    assert asyncio.run(act()).error == error


def test_an_attempt_that_is_given_back_does_not_count(kit):
    store = kit.store()

    async def act():
        job = await insert(store)
        for _ in range(10):
            job = await store.release(await store.claim(job.id), counted=False)
        return job

    job = asyncio.run(act())
    assert (job.state, job.attempt, job.lost, job.started_at) == ("queued", 0, 0, None)


@pytest.mark.parametrize("end", ["complete", "fail", "release"])
def test_an_attempt_that_is_no_longer_the_jobs_changes_nothing(kit, end):
    store = kit.store()

    async def act():
        old = await begin(store)
        await store.release(old, counted=True)
        current = await store.claim(old.id)
        await asyncio.to_thread(kit.files._write, old.id, f"{current.fence}-0", b"of the new one")
        if end == "complete":
            late = await finish(kit, store, old, b"of the old one")
        elif end == "fail":
            late = await store.fail(old, {"code": "c", "message": "m", "param": None})
        else:
            late = await store.release(old, counted=True)
        return late, current, await store.get(old.id)

    late, current, kept = asyncio.run(act())
    assert late is None
    assert kept == current
    assert lying(kit, current) == [f"{current.fence}-0"]


def test_an_end_that_is_written_twice_is_one(kit):
    store = kit.store()

    async def act():
        job = await begin(store)
        first = await finish(kit, store, job, b"result")
        # As after an answer that got lost on its way.
        return first, await store.complete(job, first.artifacts), await store.events(job.id)

    first, second, events = asyncio.run(act())
    assert second == first
    assert len(events) == 3
    assert kit.files.path_of(first, first.artifacts[0]).read_bytes() == b"result"


def test_a_new_server_takes_up_what_waits_in_its_order(kit):
    store = kit.store()

    async def act():
        jobs = [await insert(store, caller=f"key-{n}", priority="job") for n in range(5)]
        await store.cancel(jobs[1].id)
        await finish(kit, store, await store.claim(jobs[2].id), b"r")
        return jobs

    jobs = asyncio.run(act())
    again = kit.store()
    assert again.recover() == [QueuedJob(jobs[n].id, f"key-{n}", "job", 0) for n in (0, 3, 4)]
    assert again.queued() == store.queued() == 3
    assert again.used_bytes() == store.used_bytes() > 0


def test_what_ran_when_the_server_was_killed_has_lost_an_attempt(kit):
    store = kit.store()
    job = asyncio.run(begin(store))
    lost = []
    for _ in range(2):
        again = kit.store()
        lost += [queued.lost for queued in again.recover()]
        assert asyncio.run(again.claim(job.id))
    last = kit.store()
    assert last.recover() == []
    assert lost == [1, 2]
    failed = asyncio.run(last.get(job.id))
    assert (failed.state, failed.error["code"]) == ("failed", "worker_lost")
    assert [state for _, state in kit.told][-3:] == ["queued", "running", "failed"]
    assert last.queued() == 0


def test_an_attempt_of_the_server_before_is_fenced_off(kit):
    store = kit.store()
    job = asyncio.run(begin(store))
    again = kit.store()
    again.recover()
    current = asyncio.run(again.claim(job.id))
    assert asyncio.run(finish(kit, store, job, b"of a ghost")) is None
    done = asyncio.run(finish(kit, again, current, b"right"))
    assert lying(kit, done) == [done.artifacts[0].name]
