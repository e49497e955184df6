"""Webhooks to hosts that are slow, dead, inside, or refused; and servers that stop meanwhile."""

from __future__ import annotations

import asyncio
import socket
import threading

import pytest

from onebox.core.errors import InvalidInput
from onebox.services.webhooks.delivery import PAUSE_S
from tests.unit.api.asking import in_loop
from tests.unit.services.posting import Dead, received


def test_events_for_one_host_go_one_after_the_other_and_hold_up_no_other(shop, receiver):
    @in_loop
    async def use() -> None:
        receiver.open.clear()
        async with shop.open() as webhooks:
            for name in ("job.queued", "job.started", "job.completed"):
                await shop.add(webhooks, receiver.url(f"/{name}"))
            first = await received(receiver)
            await shop.add(webhooks, receiver.url("/other", name="other.test"))
            # The slow host has one request, and the other host its own.
            second = await received(receiver)
            assert (first.path, second.path) == ("/job.queued", "/other")
            assert not receiver.has_more()
            receiver.open.set()
            paths = [(await received(receiver)).path for _ in range(2)]
            assert paths == ["/job.started", "/job.completed"]
        assert {delivery.state for delivery in await shop.of()} == {"delivered"}

    use()


def test_a_host_that_cannot_be_reached_is_left_alone_with_all_that_waits_for_it(shop):
    @in_loop
    async def use() -> None:
        shop.connect = dead = Dead()
        webhooks = shop.make()
        for _ in range(3):
            await shop.add(webhooks, "http://hooks.test/a")
        async with shop.open():
            await asyncio.to_thread(dead.was_asked.wait, 60)
        assert dead.asked == ["127.0.0.1"]
        found = await shop.of()
        assert [delivery.attempts for delivery in found] == [1, 0, 0]
        assert {delivery.next_at - shop.clock.now for delivery in found} == {PAUSE_S}
        # What went wrong below is not told.
        assert found[0].last_error == "the host cannot be reached"

    use()


class Rude:
    """A network in which every host says one thing, and then nothing for ever."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.connected = threading.Event()
        self._kept: list[socket.socket] = []

    def __call__(self, address, link, timeout_s) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.sendall(self.answer)
        theirs.settimeout(timeout_s)
        self._kept += [ours, theirs]
        self.connected.set()
        return theirs

    def close(self) -> None:
        for connection in self._kept:
            connection.close()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "timeout_s", "state"),
    [
        (HEAD + b"x" * 10_000, 60, "delivered"),
        (b"", 0.1, "pending"),
        (b"HTTP/1.1 200 OK\r\n", 0.1, "pending"),
        (HEAD[:-2] + b"X: " + b"x" * 70_000, 60, "pending"),
        (b"SSH-2.0-OpenSSH_9\r\n", 60, "pending"),
    ],
    ids=["endless", "silent", "slow", "swollen", "another protocol"],
)
def test_what_a_host_says_beyond_its_status_costs_nothing(shop, answer, timeout_s, state):
    @in_loop
    async def use() -> None:
        shop.connect = rude = Rude(answer)
        async with shop.open(timeout_s=timeout_s) as webhooks:
            await shop.add(webhooks, "http://hooks.test/a")
            await asyncio.to_thread(rude.connected.wait, 60)
        delivery = await shop.one()
        assert (delivery.state, delivery.attempts) == (state, 1)
        rude.close()

    use()


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["169.254.169.254"], ["93.184.216.34", "10.0.0.1"], ["::1"]]
)
def test_a_name_that_leads_inside_is_not_connected_to(shop, addresses):
    @in_loop
    async def use() -> None:
        shop.connect = dead = Dead()
        resolved = threading.Event()

        class Names(dict):
            def get(self, host, default):
                resolved.set()
                return addresses

        shop.names = Names()
        async with shop.open(hosts=()) as webhooks:
            await shop.add(webhooks, "https://inside.example/a")
            await asyncio.to_thread(resolved.wait, 60)
        assert dead.asked == []
        delivery = await shop.one()
        assert (delivery.state, delivery.attempts) == ("pending", 1)
        assert "public internet" in delivery.last_error

    use()


def test_a_host_that_is_not_allowed_any_more_is_not_asked(shop, receiver):
    @in_loop
    async def use() -> None:
        await shop.add(shop.make(), receiver.url())
        async with shop.open(hosts=("other.test",)) as webhooks:
            await shop.add(webhooks, receiver.url(name="other.test"))
            await received(receiver)
        assert not receiver.has_more()
        assert "ONEBOX_WEBHOOK_HOSTS" in (await shop.of())[0].last_error

    use()


def test_a_server_that_stops_gives_what_is_on_its_way_a_moment(shop, receiver):
    @in_loop
    async def use() -> None:
        receiver.open.clear()
        webhooks = shop.make()
        await webhooks.start()
        await shop.add(webhooks, receiver.url())
        await received(receiver)
        closing = asyncio.ensure_future(webhooks.close())
        receiver.open.set()
        await closing
        assert (await shop.one()).state == "delivered"

    use()


def test_an_event_that_is_added_when_the_server_has_stopped_waits_for_the_next(shop, receiver):
    @in_loop
    async def use() -> None:
        async with shop.open() as webhooks:
            pass
        await shop.add(webhooks, receiver.url())
        async with shop.open():
            await received(receiver)
        assert (await shop.one()).state == "delivered"

    use()


def test_a_submission_is_checked_before_it_is_taken(shop):
    webhooks = shop.make()
    webhooks.check("https://example.org/hook", ["job.failed"])
    for url, events in (("https://10.0.0.1/", ()), ("https://example.org/", ("job.done",))):
        with pytest.raises(InvalidInput):
            webhooks.check(url, events)
