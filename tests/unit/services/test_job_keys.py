"""Requests that are sent twice: `Idempotency-Key`."""

from __future__ import annotations

import asyncio

import pytest

from onebox.services.jobs.job import IdempotencyConflict
from tests.unit.services.job_kit import insert, new


def test_the_same_request_again_is_the_same_job(kit):
    store = kit.store(max_queued=2)
    same = {"idempotency_key": "one\0two ü", "fingerprint": "f" * 64}

    async def act():
        first = await insert(store, **same, blobs={"image": b"x"})
        second = await insert(store, **same, blobs={"image": b"x"})
        other = await insert(store, **same, caller="key-2")
        # Nothing more fits, and it is answered as before.
        return first, second, other, await insert(store, **same)

    first, second, other, full = asyncio.run(act())
    assert first == second == full
    assert other.id != first.id
    assert store.queued() == 2
    assert len(kit.told) == 2
    assert [path.name for path in kit.folder.iterdir()] == [first.id]


def test_of_equal_requests_at_the_same_time_one_becomes_a_job(kit):
    store = kit.store()
    same = {"idempotency_key": "k", "fingerprint": "f"}

    async def act():
        return await asyncio.gather(
            *[insert(store, **same, blobs={"image": b"x"}) for _ in range(12)]
        )

    (job_id,) = {job.id for job in asyncio.run(act())}
    assert store.queued() == 1
    assert store.used_bytes() == asyncio.run(store.get(job_id)).size_bytes
    assert [path.name for path in kit.folder.iterdir()] == [job_id]


def test_another_request_under_a_used_key_is_refused(kit):
    store = kit.store()

    async def act():
        first = await insert(store, idempotency_key="k", fingerprint="f")
        with pytest.raises(IdempotencyConflict) as caught:
            await insert(store, idempotency_key="k", fingerprint="g")
        return first, caught.value

    first, error = asyncio.run(act())
    assert error.details == {"job": first.id}
    assert store.queued() == 1


def test_the_key_of_a_deleted_job_is_free_again(kit):
    store = kit.store()

    async def act():
        first = await insert(store, idempotency_key="k", fingerprint="f")
        await store.delete(first.id)
        return first, await insert(store, idempotency_key="k", fingerprint="g")

    first, second = asyncio.run(act())
    assert second.id != first.id


def test_of_a_list_those_that_are_known_are_the_earlier_ones(kit):
    store = kit.store()

    async def act():
        known = await insert(store, idempotency_key="k", fingerprint="f")
        listed = await store.insert([new(), new(idempotency_key="k", fingerprint="f"), new()])
        return known, listed

    known, listed = asyncio.run(act())
    assert listed[1] == known
    assert len({job.id for job in listed}) == 3
    assert store.queued() == 3
