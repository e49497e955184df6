from __future__ import annotations

import asyncio

import pytest

from onebox.services.jobs import rows
from onebox.services.jobs.job import JobNotFound
from onebox.services.jobs.retention import Retention
from onebox.services.jobs.store import CHUNK
from tests.unit.services.job_kit import begin, finish, insert, lying, new

DAY_S = 86_400


def test_what_has_ended_is_kept_for_its_time(kit):
    store = kit.store(ttl_days=7)
    retention = Retention(store, kit.database, kit.files)

    async def act():
        done, waits = await begin(store), await insert(store)
        await finish(kit, store, done, b"result")
        kit.clock.now += 7 * DAY_S
        await retention.expire()
        assert (await store.get(done.id)).state == "completed"
        kit.clock.now += 1
        await retention.expire()
        with pytest.raises(JobNotFound):
            await store.get(done.id)
        # It has not ended, however old it is.
        kit.clock.now += 1000 * DAY_S
        await retention.expire()
        assert (await store.get(waits.id)).state == "queued"
        return done, waits

    done, waits = asyncio.run(act())
    assert not (kit.folder / done.id).exists()
    assert store.used_bytes() == waits.size_bytes


def test_many_are_deleted_a_part_at_a_time(kit):
    store = kit.store(ttl_days=1)
    retention = Retention(store, kit.database, kit.files)

    async def act():
        jobs = await store.insert([new() for _ in range(2 * CHUNK + 1)])
        await asyncio.gather(*[store.cancel(job.id) for job in jobs])
        kit.clock.now += 2 * DAY_S
        await retention.expire()
        return await store.counts()

    assert asyncio.run(act()) == {}
    assert store.used_bytes() == 0


def test_files_that_no_job_names_are_deleted(kit):
    store = kit.store()
    retention = Retention(store, kit.database, kit.files)

    async def act():
        done, runs = await begin(store), await begin(store)
        done = await finish(kit, store, done, b"result")
        waits = await insert(store, blobs={"image": b"x"})
        write = kit.files._write
        for job, name in [
            (done, "0123-0"),
            (done, "0123-1.part"),
            (runs, f"{runs.fence}-0"),
            (runs, "0123-0"),
            (waits, "0123-0"),
        ]:
            write(job.id, name, b"x")
        write("job_of_nobody", "in-image", b"x")
        await retention.sweep(kit.files.job_ids())
        return done, runs, waits

    done, runs, waits = asyncio.run(act())
    assert lying(kit, done) == [done.artifacts[0].name]
    assert lying(kit, runs) == [f"{runs.fence}-0"]
    assert lying(kit, waits) == ["in-image"]
    assert not (kit.folder / "job_of_nobody").exists()


def test_it_looks_after_the_store_while_it_runs(kit):
    store = kit.store(ttl_days=1)
    retention = Retention(store, kit.database, kit.files, every_s=0.001)

    async def act():
        job = await insert(store)
        await store.cancel(job.id)
        kit.files._write("job_of_nobody", "in-image", b"x")
        kit.clock.now += 2 * DAY_S
        await retention.start()
        async with asyncio.timeout(60):
            while await store.counts() or "job_of_nobody" in kit.files.job_ids():
                await asyncio.sleep(0)
        await retention.close()
        await retention.close()

    asyncio.run(act())


def test_files_of_jobs_that_another_server_has_deleted_go_too(kit):
    store = kit.store(owner="a")
    retention = Retention(store, kit.database, kit.files, is_shared=True, every_s=0.001)

    async def act():
        gone, stays = [await insert(store, blobs={"image": b"x"}) for _ in range(2)]
        await retention.start()
        await kit.database.write(lambda connection: rows.remove(connection, [gone]))
        async with asyncio.timeout(60):
            while gone.id in kit.files.job_ids():
                await asyncio.sleep(0)
        await retention.close()
        assert kit.files.job_ids() == [stays.id]

    asyncio.run(act())
