from __future__ import annotations

import asyncio

import pytest

from onebox.core.errors import InvalidInput
from onebox.services.jobs.query import JobQuery
from tests.unit.services.job_kit import begin, finish, insert


@pytest.fixture
def store(kit):
    return kit.store()


@pytest.fixture
def ids(store):
    """Of seven jobs, the oldest first."""

    async def act():
        return [(await insert(store, surface=("job", "video")[n % 2])).id for n in range(7)]

    return asyncio.run(act())


def page(store, caller="key-1", **query):
    jobs, has_more = asyncio.run(store.page(caller, JobQuery(**query)))
    return [job.id for job in jobs], has_more


def test_the_newest_come_first(store, ids):
    assert page(store) == (ids[::-1], False)
    assert page(store, limit=3) == (ids[:3:-1], True)
    assert page(store, limit=7) == (ids[::-1], False)
    assert page(store, order="asc", limit=2) == (ids[:2], True)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_together_are_the_list_forwards_and_backwards(store, ids, limit, order):
    wanted = ids if order == "asc" else ids[::-1]
    found, has_more = page(store, order=order, limit=limit)
    while has_more:
        part, has_more = page(store, order=order, limit=limit, after=found[-1])
        found += part
    assert found == wanted
    found, has_more = page(store, order=order, limit=limit, before=wanted[-1])
    while has_more:
        part, has_more = page(store, order=order, limit=limit, before=found[0])
        found = part + found
    assert found == wanted[:-1]


def test_a_page_can_lie_between_two_jobs(store, ids):
    assert page(store, order="asc", after=ids[1], before=ids[5]) == (ids[2:5], False)


def test_a_page_goes_on_after_a_job_that_is_gone(store, ids):
    asyncio.run(store.delete(ids[3]))
    assert page(store, after=ids[3]) == (ids[2::-1], False)


@pytest.mark.parametrize("param", ["after", "before"])
@pytest.mark.parametrize("cursor", ["", "x", "job_1", "a\0b", "file_" + "0" * 26])
def test_what_is_no_id_is_no_place(store, param, cursor):
    with pytest.raises(InvalidInput, match="is no id of a job") as caught:
        page(store, **{param: cursor})
    assert caught.value.param == param


def test_each_sees_their_own_and_an_admin_all(store, ids):
    theirs = asyncio.run(insert(store, caller="key-2")).id
    assert page(store, "key-2") == ([theirs], False)
    assert page(store, "key-3") == ([], False)
    assert page(store, None) == ([theirs, *ids[::-1]], False)


def test_lists_can_be_narrowed(kit, store, ids):
    async def act():
        line = await insert(store, surface="batch", group="batch_1", task="chat", model="m")
        await finish(kit, store, await begin(store, task="chat"), b"r")
        await store.cancel(ids[0])
        return line.id

    line = asyncio.run(act())
    assert page(store, surface="video") == (ids[5::-2], False)
    assert page(store, state="cancelled") == ([ids[0]], False)
    assert page(store, group="batch_1") == ([line], False)
    assert page(store, task="chat", state="queued") == ([line], False)
    assert page(store, model="m") == ([line], False)
    assert page(store, model="m\0") == ([], False)
    assert asyncio.run(store.counts()) == {"queued": 7, "completed": 1, "cancelled": 1}
    assert asyncio.run(store.counts("batch_1")) == {"queued": 1}
    assert asyncio.run(store.counts("batch_2")) == {}


def test_lists_leave_out_the_work(store, ids):
    jobs, _ = asyncio.run(store.page("key-1", JobQuery()))
    assert {job.work for job in jobs} == {b""}
    assert asyncio.run(store.get(ids[0])).work == b"the work"
