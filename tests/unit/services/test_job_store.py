"""Jobs in the table: how they come in, what becomes of them, and who may say so."""

from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import QueueFull, StorageFull
from onebox.services.jobs.ids import is_id, new_id
from onebox.services.jobs.job import JobNotFound
from tests.unit.services.job_kit import begin, finish, insert, lying, new

DAY_S = 86_400


def test_a_job_is_kept_as_it_was_sent(kit):
    store = kit.store()
    sent = {
        "caller": "key-7",
        "kind": "request",
        "surface": "batch",
        "group": "batch_1",
        "position": 3,
        "model_sha256": "a" * 64,
        "priority": "batch",
        "webhook_url": "https://example.com/hook",
        "webhook_events": ("job.completed",),
        "timeout_s": 60.0,
        "public": {"prompt": "grün", "n": 2, "nothing": None},
        "work": bytes(range(256)),
    }

    async def act():
        inserted = await insert(store, **sent, blobs={"image": b"\x89PNG"})
        return inserted, await store.get(inserted.id)

    inserted, job = asyncio.run(act())
    assert inserted == job
    assert {name: getattr(job, name) for name in sent} == sent
    assert (job.state, job.attempt, job.lost, job.fence) == ("queued", 0, 0, None)
    assert (job.created_at, job.started_at, job.ended_at) == (1000.0, None, None)
    assert kit.files.read_blob(job, "image") == b"\x89PNG"
    assert is_id(job.id, "job")
    assert kit.told == [(job.id, "queued")]


@pytest.mark.parametrize(("surface", "prefix"), [("job", "job"), ("video", "video")])
def test_ids_say_the_surface(kit, surface, prefix):
    assert is_id(asyncio.run(insert(kit.store(), surface=surface)).id, prefix)


def test_a_life(kit):
    store = kit.store()

    async def act():
        job = await begin(store)
        kit.clock.now = 2000.0
        done = await finish(kit, store, job, b"first", b"second")
        return job, done, await store.get(job.id), await store.events(job.id)

    running, done, kept, events = asyncio.run(act())
    assert (running.state, running.attempt, running.started_at) == ("running", 1, 1000.0)
    assert done == kept
    assert (done.state, done.ended_at) == ("completed", 2000.0)
    assert done.expires_at == 2000.0 + 7 * DAY_S
    assert [kit.files.path_of(done, a).read_bytes() for a in done.artifacts] == [
        b"first",
        b"second",
    ]
    assert [(e.seq, e.type, e.at, e.attempt) for e in events] == [
        (1, "queued", 1000.0, 0),
        (2, "started", 1000.0, 1),
        (3, "completed", 2000.0, 1),
    ]
    assert [state for _, state in kit.told] == ["queued", "running", "completed"]


def test_events_can_be_read_from_where_one_was(kit):
    store = kit.store()

    async def act():
        job = await begin(store)
        await store.fail(job, {"code": "c", "message": "m", "param": None})
        return await store.events(job.id, after=2), await store.events(job.id, after=3)

    later, none = asyncio.run(act())
    assert [(event.type, event.error["code"]) for event in later] == [("failed", "c")]
    assert none == []


def test_a_job_is_begun_once_at_a_time(kit):
    store = kit.store()

    async def act():
        job = await insert(store)
        return await asyncio.gather(*[store.claim(job.id) for _ in range(8)])

    assert len([job for job in asyncio.run(act()) if job is not None]) == 1


def test_what_fails_says_why(kit):
    store, error = kit.store(), {"code": "invalid_value", "message": "no", "param": "size"}

    async def act():
        job = await begin(store)
        await asyncio.to_thread(kit.files._write, job.id, f"{job.fence}-0", b"half a result")
        await store.fail(job, error)
        return await store.get(job.id)

    job = asyncio.run(act())
    assert (job.state, job.error) == ("failed", error)
    assert lying(kit, job) == []


def test_a_job_without_a_time_limit_is_kept_for_ever(kit):
    store = kit.store(ttl_days=0)

    async def act():
        job = await begin(store)
        return await finish(kit, store, job)

    assert asyncio.run(act()).expires_at is None


@pytest.mark.parametrize("name", ["get", "cancel", "delete", "claim"])
@pytest.mark.parametrize(
    "job_id", ["job_" + "0" * 26, "", "job_1", "../../etc", "x\0y", "batch_" + "0" * 26], ids=repr
)
def test_what_there_is_not_is_told(kit, name, job_id):
    store = kit.store()
    if name == "claim":
        assert asyncio.run(store.claim(new_id("job"))) is None
        return
    with pytest.raises(JobNotFound, match="there is no job"):
        asyncio.run(getattr(store, name)(job_id))


def test_cancelling_ends_what_waits_or_runs_and_leaves_what_has_ended(kit):
    store = kit.store()

    async def act():
        waits, runs, done = await insert(store), await begin(store), await begin(store)
        await finish(kit, store, done, b"result")
        first = [await store.cancel(job.id) for job in (waits, runs, done)]
        again = [await store.cancel(job.id) for job in (waits, runs, done)]
        return first, again, await finish(kit, store, runs, b"too late")

    first, again, late = asyncio.run(act())
    assert [job.state for job in first] == ["cancelled", "cancelled", "completed"]
    assert again == first
    assert late is None
    assert lying(kit, first[1]) == []
    assert len(lying(kit, first[2])) == 1


def test_a_deleted_job_is_gone_with_its_files(kit):
    store = kit.store()

    async def act():
        job = await begin(store, blobs={"image": b"x" * 100})
        await store.delete(job.id)
        late = await finish(kit, store, job, b"too late")
        with pytest.raises(JobNotFound):
            await store.get(job.id)
        return job, late, await store.events(job.id)

    job, late, events = asyncio.run(act())
    assert (late, events) == (None, [])
    assert not (kit.folder / job.id).exists()
    assert store.used_bytes() == 0


def test_of_a_list_all_are_stored_or_none(kit):
    store = kit.store()

    async def act():
        jobs = await store.insert([new(group="batch_1", position=n) for n in range(20)])
        with pytest.raises(ValueError, match="is no name of a blob"):
            await store.insert([new(blobs={"ok": b"x"}), new(blobs={"../x": b"x"})])
        return jobs

    jobs = asyncio.run(act())
    assert [job.position for job in jobs] == list(range(20))
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)
    assert asyncio.run(store.counts()) == {"queued": 20}
    assert list(kit.folder.iterdir()) == []
    assert store.used_bytes() == sum(job.size_bytes for job in jobs)


def test_no_more_wait_than_may(kit):
    store = kit.store(max_queued=2)

    async def act():
        first = await insert(store)
        with pytest.raises(QueueFull, match="1 jobs wait and 2 more were sent, at most 2 may"):
            await store.insert([new(), new()])
        await insert(store)
        with pytest.raises(QueueFull):
            await insert(store)
        # One that runs does not wait.
        assert await store.claim(first.id)
        await insert(store)

    asyncio.run(act())


def test_what_does_not_fit_is_refused_until_something_is_deleted(kit):
    store = kit.store(max_bytes=5000)

    async def act():
        job = await begin(store)
        await finish(kit, store, job, b"r" * 4000)
        with pytest.raises(StorageFull, match=r"take 40\d\d bytes .* at most 5000") as caught:
            await insert(store, blobs={"image": b"x" * 1000})
        assert list(kit.folder.iterdir()) == [kit.folder / job.id]
        await store.delete(job.id)
        await insert(store, blobs={"image": b"x" * 1000})
        return caught.value.details

    assert asyncio.run(act())["max_bytes"] == 5000


def test_a_submission_is_stored_when_the_client_leaves_meanwhile(kit):
    store = kit.store()

    async def act():
        waiting = asyncio.ensure_future(insert(store, blobs={"image": b"x"}))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        await store.close()
        return await store.counts()

    assert asyncio.run(act()) == {"queued": 1}
    assert store.queued() == 1


def test_a_hook_that_fails_undoes_the_change(kit):
    def refuse(connection, job):
        if job.state == "completed":
            raise ValueError("no")

    store = kit.store(hooks=[refuse])

    async def act():
        job = await begin(store)
        with pytest.raises(ValueError, match="no"):
            await finish(kit, store, job, b"result")
        return job, await store.get(job.id)

    job, kept = asyncio.run(act())
    assert kept == job
