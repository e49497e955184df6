"""From a job's change to its receiver: the store of jobs, the outbox and the sending together."""

from __future__ import annotations

import json

from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.job import NewJob
from onebox.services.jobs.store import JobStore
from tests.unit.api.asking import in_loop
from tests.unit.services.posting import received

EVENTS = ("job.queued", "job.started", "job.completed", "job.failed", "job.cancelled")


def store_of(shop, webhooks, folder):
    return JobStore(
        shop.database,
        ArtifactFiles(folder / "jobs"),
        ttl_days=7,
        max_bytes=10**9,
        max_queued=100,
        hooks=(webhooks.job_changed,),
        clock=shop.clock,
    )


def new_job(url):
    return NewJob(
        caller="c",
        kind="task",
        task="t",
        model="m",
        work=b"",
        webhook_url=url,
        webhook_events=EVENTS,
    )


def told(got):
    event = json.loads(got.body)
    return event["type"], event["data"]["id"]


def test_a_receiver_follows_a_job_to_its_end(shop, receiver, tmp_path):
    @in_loop
    async def use() -> None:
        async with shop.open() as webhooks:
            store = store_of(shop, webhooks, tmp_path)
            (job,) = await store.insert([new_job(receiver.url())])
            assert told(await received(receiver)) == ("job.queued", job.id)
            begun = await store.claim(job.id)
            assert told(await received(receiver)) == ("job.started", job.id)
            await store.complete(begun, [])
            assert told(await received(receiver)) == ("job.completed", job.id)
        assert {each.state for each in await shop.of(job.id)} == {"delivered"}
        await store.close()

    use()


def test_what_happened_while_nothing_could_be_sent_is_told_after_the_next_start(
    shop, receiver, tmp_path
):
    @in_loop
    async def use() -> None:
        store = store_of(shop, shop.make(), tmp_path)
        first, second = await store.insert([new_job(receiver.url()) for _ in range(2)])
        begun = await store.claim(first.id)
        await store.fail(begun, {"code": "x", "message": "m", "param": None})
        await store.cancel(second.id)
        # Deleted with its job would be too early.
        await store.delete(second.id)
        await store.close()
        async with shop.open():
            arrived = {told(await received(receiver)) for _ in range(5)}
        assert arrived == {
            ("job.queued", first.id),
            ("job.queued", second.id),
            ("job.started", first.id),
            ("job.failed", first.id),
            ("job.cancelled", second.id),
        }

    use()
