"""One request's events, from the client's side."""

from __future__ import annotations

import asyncio

import pytest

from onebox.core.results import Artifact
from onebox.runtime.exchange import Exchange
from onebox.runtime.wire import Failed, Loading, Progress, Result, Started
from tests.unit.runtime.clients import run, submit

EVENTS = [Loading("1", 0.5), Started("1"), Progress("1", 1, 2), Result("1")]


class Desk:
    """Opens exchanges and notes who left."""

    def __init__(self) -> None:
        self.left: list[Exchange] = []
        self.seen: list[object] = []

    def open(self, *, only_end: bool = False, observe=None) -> Exchange:
        return Exchange(submit("1"), observe or self.seen.append, only_end, self.left.append)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_events_come_in_order_and_end_with_the_answer(desk):
    async def scene():
        exchange = desk.open()
        for event in EVENTS:
            exchange.put(event)
        return [event async for event in exchange]

    assert run(scene()) == EVENTS
    assert desk.seen == EVENTS


@pytest.mark.parametrize("end", [Result("1"), Failed("1", "queue_full", "full")])
def test_after_the_answer_nothing_is_taken(desk, end):
    async def scene():
        exchange = desk.open()
        for event in (end, Progress("1", 2, 2), Result("1"), Failed("1", "cancelled", "late")):
            exchange.put(event)
        return [event async for event in exchange]

    assert run(scene()) == [end]
    assert desk.seen == [end]


def test_who_waits_is_woken(desk):
    async def scene():
        exchange = desk.open()
        found = []

        async def listen():
            async for event in exchange:
                found.append(event)

        listener = asyncio.ensure_future(listen())
        for number, event in enumerate(EVENTS, 1):
            await asyncio.sleep(0)
            exchange.put(event)
            await asyncio.wait([listener], timeout=0)
            assert len(found) in (number - 1, number)
        await listener
        return found

    assert run(scene()) == EVENTS


def test_who_only_wants_the_end_gets_no_more_but_all_is_observed(desk):
    async def scene():
        exchange = desk.open(only_end=True)
        for event in EVENTS:
            exchange.put(event)
        return [event async for event in exchange]

    assert run(scene()) == EVENTS[-1:]
    assert desk.seen == EVENTS


def test_an_observer_sees_an_event_before_the_client_does(desk):
    async def scene():
        order = []
        exchange = desk.open(observe=lambda event: order.append("observer"))
        waiting = asyncio.ensure_future(anext(exchange))
        waiting.add_done_callback(lambda _: order.append("client"))
        await asyncio.sleep(0)
        exchange.put(Loading("1", 0.5))
        await waiting
        return order

    assert run(scene()) == ["observer", "client"]


def test_what_an_observer_raises_keeps_nothing_from_the_client(desk):
    def broken(event):
        raise ZeroDivisionError

    async def scene():
        exchange = desk.open(observe=broken)
        for event in EVENTS:
            exchange.put(event)
        return [event async for event in exchange]

    assert run(scene()) == EVENTS


def test_a_client_that_stops_waiting_loses_no_event(desk):
    async def scene():
        exchange = desk.open()
        waiting = asyncio.ensure_future(anext(exchange))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        for event in EVENTS:
            exchange.put(event)
        return [event async for event in exchange]

    assert run(scene()) == EVENTS


def test_leaving_is_told_once_with_what_was_not_read(desk):
    result = Result("1", (Artifact("image/png", None, "0" * 32),))

    async def scene():
        async with desk.open() as exchange:
            exchange.put(Loading("1", 0.5))
            exchange.put(Started("1"))
            exchange.put(result)
            await anext(exchange)

    run(scene())
    (left,) = desk.left
    assert left.ended
    assert left.unread() == [Started("1"), result]


def test_leaving_is_told_whatever_the_reason(desk):
    async def scene():
        with pytest.raises(ZeroDivisionError):
            async with desk.open():
                raise ZeroDivisionError

    run(scene())
    assert [exchange.ended for exchange in desk.left] == [False]
