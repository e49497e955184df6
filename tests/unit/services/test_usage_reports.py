"""What requests took, told to the operator's backend: in groups, signed, at least once."""

from __future__ import annotations

import asyncio
import json

import pytest

from onebox.core.errors import InvalidInput
from onebox.services.hooks.usage_reports import EVENT, UsageReports
from onebox.services.usage.usage import Amounts, Usage
from onebox.services.webhooks import outbox
from onebox.services.webhooks.delivery import Webhooks
from tests.support.receiver import Receiver
from tests.unit.services.asking_backend import KEY
from tests.unit.services.posting import SECRET, Dead, Shop

OWN = {EVENT: {"X-Onebox-Key": KEY}}


def usage_of(number: int, caller: str = "key:0123") -> Usage:
    return Usage(
        id=f"use_{number}",
        at=1e9,
        caller=caller,
        task="chat",
        model="tiny",
        status="ok",
        request_id=f"req_{number}",
        amounts=Amounts(requests=1, prompt_tokens=5, completion_tokens=7),
    )


async def report(shop: Shop, webhooks: Webhooks, url: str, *rows: Usage) -> None:
    reports = UsageReports(url, webhooks.wake, shop.clock)
    await shop.database.write(lambda connection: reports.rows_added(connection, rows))


def test_rows_arrive_as_one_signed_group(shop, receiver):
    async def run() -> None:
        async with shop.open(own=OWN, hosts=()) as webhooks:
            url = receiver.url("/usage?k=1", name="127.0.0.1")
            await report(shop, webhooks, url, usage_of(1), usage_of(2, "backend:42"))
            told = await asyncio.to_thread(receiver.next)
        assert told.path == "/usage?k=1"
        assert told.headers["x-onebox-key"] == KEY
        event = json.loads(told.body)
        assert (event["type"], event["id"]) == ("usage.recorded", told.headers["webhook-id"])
        first, second = event["data"]["records"]
        assert (first["id"], first["request_id"]) == ("use_1", "req_1")
        assert first["amounts"]["completion_tokens"] == 7
        assert "user_id" not in first
        assert second["user_id"] == "42"

    asyncio.run(run())


def test_a_client_may_not_have_webhooks_sent_where_the_operator_has_usage_sent(shop, receiver):
    webhooks = shop.make(own=OWN, hosts=())
    with pytest.raises(InvalidInput):
        webhooks.check(receiver.url("/usage", name="127.0.0.1"))


def test_a_client_cannot_ask_for_events_of_usage(shop):
    with pytest.raises(InvalidInput):
        shop.make(own=OWN).check("https://example.com/", [EVENT])


def test_other_webhooks_go_without_the_operators_key(shop, receiver):
    async def run() -> None:
        async with shop.open(own=OWN) as webhooks:
            await shop.add(webhooks, receiver.url())
            told = await asyncio.to_thread(receiver.next)
        assert "x-onebox-key" not in told.headers

    asyncio.run(run())


@pytest.mark.parametrize("is_reached", [True, False])
def test_it_is_sent_again_after_1_2_4_and_8_seconds_and_then_seldom(shop, receiver, is_reached):
    url = receiver.url("/usage", name="127.0.0.1")
    receiver.answers.extend([(503, {})] * 6)
    dead = Dead()
    if not is_reached:
        shop.connect = dead

    async def run() -> list[float]:
        delays = []
        for attempt in range(6):
            dead.was_asked.clear()
            async with shop.open(own=OWN, hosts=()) as webhooks:
                if not attempt:
                    await report(shop, webhooks, url, usage_of(1))
                await asyncio.to_thread(receiver.next if is_reached else dead.was_asked.wait)
            next_at = await shop.database.read(lambda connection: outbox.next_at(connection, ()))
            delays.append(next_at - shop.clock.now)
            shop.clock.now = next_at
        return delays

    assert asyncio.run(run()) == [1.0, 2.0, 4.0, 8.0, 20.0, 80.0]


def test_what_did_not_arrive_is_sent_by_the_next_server(shop, receiver):
    receiver.answers.append((503, {}))
    url = receiver.url("/usage", name="127.0.0.1")

    async def run() -> None:
        async with shop.open(own=OWN, hosts=()) as webhooks:
            await report(shop, webhooks, url, usage_of(1))
            first = await asyncio.to_thread(receiver.next)
        shop.clock.now += 60
        async with shop.open(own=OWN, hosts=()):
            second = await asyncio.to_thread(receiver.next)
        assert second.body == first.body
        assert second.headers["webhook-id"] == first.headers["webhook-id"]

    asyncio.run(run())


def test_its_signature_is_that_of_webhooks(shop, receiver: Receiver):
    openai = pytest.importorskip("openai")

    async def run() -> None:
        async with shop.open(own=OWN, hosts=()) as webhooks:
            await report(shop, webhooks, receiver.url("/usage", name="127.0.0.1"), usage_of(1))
            told = await asyncio.to_thread(receiver.next)
        client = openai.OpenAI(api_key="none", webhook_secret=SECRET)
        client.webhooks.verify_signature(told.body, told.headers, tolerance=10**12)

    asyncio.run(run())
