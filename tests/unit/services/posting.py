"""Servers that send webhooks, with a clock and a network that tests drive."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import threading
from collections.abc import AsyncIterator

from onebox.services.database import Database
from onebox.services.webhooks import outbox
from onebox.services.webhooks.delivery import Webhooks
from onebox.services.webhooks.guard import WebhookGuard
from onebox.services.webhooks.signing import Signer
from tests.support.receiver import NAME, Received, Receiver

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
SUBJECT = "job_1"


class Clock:
    """Moves by `step` whenever it is looked at."""

    now = 1e9
    step = 0.0

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Shop:
    """One server's webhooks after the other, over one database and one clock.

    Names lead to this machine unless `names` says otherwise.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = Clock()
        self.names: dict[str, list[str]] = {}
        self.connect = None

    def make(self, *, hosts: tuple[str, ...] = (NAME, "other.test"), **given) -> Webhooks:
        return Webhooks(
            self.database,
            Signer(SECRET),
            WebhookGuard(hosts),
            resolve=lambda host, port: self.names.get(host, ["127.0.0.1"]),
            connect=self.connect,
            clock=self.clock,
            chance=lambda: 0.5,
            **given,
        )

    @contextlib.asynccontextmanager
    async def open(self, **given) -> AsyncIterator[Webhooks]:
        """A server; it ends when what is on its way has come to its end."""
        webhooks = self.make(**given)
        await webhooks.start()
        try:
            yield webhooks
        finally:
            await webhooks.close()

    async def add(self, webhooks: Webhooks, url: str, name: str = "job.completed") -> None:
        event = {"event_type": name, "data": {"id": SUBJECT}, "subject_id": SUBJECT}
        await self.database.write(lambda c: outbox.add(c, url=url, at=self.clock.now, **event))
        webhooks.wake()

    async def of(self, subject_id: str = SUBJECT):
        return await self.make().of(subject_id)

    async def one(self):
        (found,) = await self.of()
        return found


class Dead:
    """A network in which nobody answers."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.was_asked = threading.Event()

    def __call__(self, address, link, timeout_s) -> socket.socket:
        self.asked.append(address)
        self.was_asked.set()
        raise ConnectionRefusedError(f"{address} port {link.port}")


async def received(receiver: Receiver) -> Received:
    return await asyncio.to_thread(receiver.next)
