"""Webhooks on their way to a receiver on this machine: arrival, retries, restarts."""

from __future__ import annotations

from types import SimpleNamespace

import openai
from openai.lib import _webhooks

from onebox.services.webhooks.delivery import GIVE_UP_S, KEEP_S
from tests.support.receiver import NAME
from tests.unit.api.asking import in_loop
from tests.unit.services.posting import SECRET, SUBJECT, received


def test_an_event_arrives_signed_as_the_sdk_checks_it(shop, receiver, monkeypatch):
    monkeypatch.setattr(_webhooks, "time", SimpleNamespace(time=shop.clock))

    @in_loop
    async def use() -> None:
        async with shop.open() as webhooks:
            await shop.add(webhooks, receiver.url("/hook?x=1"), "batch.completed")
            got = await received(receiver)
        client = openai.OpenAI(api_key="x", webhook_secret=SECRET)
        event = client.webhooks.unwrap(got.body, got.headers)
        assert (event.type, event.data.id, event.created_at) == ("batch.completed", SUBJECT, 1e9)
        assert event.id == got.headers["webhook-id"]
        assert (got.path, got.headers["host"]) == ("/hook?x=1", f"{NAME}:{receiver.port}")
        assert got.headers["content-type"] == "application/json"
        assert "authorization" not in got.headers
        delivery = await shop.one()
        assert (delivery.state, delivery.attempts, delivery.last_status) == ("delivered", 1, 204)
        assert delivery.next_at is None

    use()


def test_what_was_not_taken_is_sent_again_later_and_later_under_the_same_id(shop, receiver):
    @in_loop
    async def use() -> None:
        receiver.answers.extend([(500, {}), (404, {}), (302, {"Location": receiver.url("/x")})])
        ids, delays, statuses = set(), [], []
        async with shop.open() as webhooks:
            await shop.add(webhooks, receiver.url())
            ids.add((await received(receiver)).headers["webhook-id"])
        for _ in range(3):
            delivery = await shop.one()
            delays.append(delivery.next_at - shop.clock.now)
            statuses.append(delivery.last_status)
            shop.clock.now = delivery.next_at
            async with shop.open():
                got = await received(receiver)
                assert (got.path, got.headers["webhook-timestamp"]) == (
                    "/hook",
                    str(int(shop.clock.now)),
                )
                ids.add(got.headers["webhook-id"])
        assert (delays, statuses) == ([5.0, 20.0, 80.0], [500, 404, 302])
        assert len(ids) == 1
        assert ((await shop.one()).state, (await shop.one()).attempts) == ("delivered", 4)

    use()


def test_a_server_that_runs_on_sends_again_by_itself(shop, receiver):
    @in_loop
    async def use() -> None:
        receiver.answers.append((503, {}))
        # Longer than the first delay whenever somebody looks.
        shop.clock.step = 10
        async with shop.open() as webhooks:
            await shop.add(webhooks, receiver.url())
            await received(receiver)
            await received(receiver)
        delivery = await shop.one()
        assert (delivery.state, delivery.attempts) == ("delivered", 2)

    use()


def test_it_is_given_up_after_three_days_and_forgotten_later(shop, receiver):
    @in_loop
    async def use() -> None:
        begun = shop.clock.now
        receiver.answers.extend([(500, {})] * 100)
        async with shop.open() as webhooks:
            await shop.add(webhooks, receiver.url())
            await received(receiver)
        while (delivery := await shop.one()).state == "pending":
            shop.clock.now = delivery.next_at
            async with shop.open():
                await received(receiver)
        assert delivery.state == "given_up"
        assert 15 < delivery.attempts < 25
        assert GIVE_UP_S - 6 * 3600 - 1 <= shop.clock.now - begun <= GIVE_UP_S
        shop.clock.now += KEEP_S + 1
        async with shop.open() as webhooks:
            receiver.answers.clear()
            await shop.add(webhooks, receiver.url(), "job.failed")
            await received(receiver)
        assert (await shop.one()).event_type == "job.failed"

    use()


def test_a_receiver_that_is_gone_for_good_says_so(shop, receiver):
    @in_loop
    async def use() -> None:
        receiver.answers.append((410, {}))
        async with shop.open() as webhooks:
            await shop.add(webhooks, receiver.url())
            await received(receiver)
        delivery = await shop.one()
        assert (delivery.state, delivery.last_status) == ("given_up", 410)

    use()
