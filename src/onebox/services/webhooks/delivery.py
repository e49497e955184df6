"""Sends what is in the outbox until it has arrived or is given up, over restarts of the server."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from onebox.core.errors import InvalidInput
from onebox.core.units import DAY_S
from onebox.services.database import Database
from onebox.services.jobs.job import Job, Surface
from onebox.services.outgoing import retrying
from onebox.services.remote_call import (
    TIMEOUT_S,
    Call,
    Connect,
    RemoteCalls,
    Resolve,
    Unreachable,
)
from onebox.services.webhooks import outbox
from onebox.services.webhooks.guard import PARAM, WebhookGuard, operators_link
from onebox.services.webhooks.outbox import Delivery, DeliveryState
from onebox.services.webhooks.signing import Signer

log = structlog.get_logger(__name__)

# Hosts that are sent to at the same time; each is sent one event at a time.
CONCURRENCY = 8
# So many for one host until others have their turn.
TURN = 32
FIRST_DELAY_S = 5.0
DELAY_GROWTH = 4.0
MAX_DELAY_S = 6 * 3600.0
# Each delay is longer or shorter by up to this share, so that not all come back at once.
JITTER = 0.2
GIVE_UP_S = 3 * DAY_S
# A host that cannot be reached is left alone for so long, with all that waits for it.
PAUSE_S = 30.0
# PostgreSQL shows what was added a moment after the word of it came.
RECHECK_S = 1.0
IDLE_S = 3600.0
CLOSE_S = 5.0
KEEP_S = 7 * DAY_S
GONE = 410


class Webhooks:
    """Takes events in transactions, and sends them. Sends on the gateway's event loop.

    An event may arrive twice, after a crash for one, and then has the same `webhook-id`.

    Args:
        timeout_s, resolve, connect: as for RemoteCalls.
        clock: seconds since 1970.
        chance: from 0 to 1, evenly.
        sent: told the state of a delivery after each attempt.
        own: kinds of events that only the server itself adds, with headers that they are sent
            with. They go wherever they are addressed, which the guard is not asked about, and are
            sent again soon at first: after 1, 2, 4 and 8 s.
    """

    def __init__(
        self,
        database: Database,
        signer: Signer,
        guard: WebhookGuard,
        *,
        timeout_s: float = TIMEOUT_S,
        resolve: Resolve | None = None,
        connect: Connect | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
        sent: Callable[[DeliveryState], None] = lambda _: None,
        own: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._own = own or {}
        self._database = database
        self._signer = signer
        self._guard = guard
        self._calls = RemoteCalls(
            "webhooks",
            threads=CONCURRENCY,
            timeout_s=timeout_s,
            resolve=resolve,
            connect=connect,
        )
        self._clock = clock
        self._chance = chance
        self._sent = sent
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._looking: asyncio.Task[None] | None = None
        self._turns: dict[str, asyncio.Task[None]] = {}

    def check(self, url: str, events: Collection[str] = (), surface: Surface = "job") -> None:
        """Raises InvalidInput for what a submission must not name."""
        self._guard.link(url)
        outbox.check_events(events, surface)

    def job_changed(self, connection: Connection, job: Job) -> None:
        """A hook of JobStore."""
        if outbox.add_job_event(connection, job):
            self.wake()

    async def of(self, subject_id: str) -> list[Delivery]:
        """All that was to be sent about it, oldest first."""
        return await self._database.read(lambda c: outbox.of_subject(c, subject_id))

    def wake(self) -> None:
        """There may be something to send. From any thread."""
        if self._loop is not None:
            # One that is closed sends nothing any more.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._woken.set)

    async def start(self) -> None:
        """Goes on with what an earlier server left."""
        self._loop = asyncio.get_running_loop()
        self._woken.set()
        self._looking = asyncio.create_task(self._look_for_ever())

    async def close(self) -> None:
        """What is on its way gets a moment; what has not arrived is sent after the next start."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})
        turns = set(self._turns.values())
        if turns:
            _, late = await asyncio.wait(turns, timeout=CLOSE_S)
            for turn in late:
                turn.cancel()
            if late:
                await asyncio.wait(late)
        self._calls.close()

    async def _look_for_ever(self) -> None:
        while True:
            woken = self._woken.is_set()
            self._woken.clear()
            try:
                wait_s = await self._look()
            except Exception as error:
                log.error("webhooks_not_read", exc_info=error)
                wait_s = PAUSE_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, RECHECK_S if woken else IDLE_S)):
                    await self._woken.wait()

    async def _look(self) -> float:
        """Begin what is due; seconds until the next is."""
        now, busy = self._clock(), tuple(self._turns)

        def look(connection: Connection) -> tuple[list[str], float | None]:
            outbox.forget(connection, now - KEEP_S)
            hosts = outbox.due_hosts(connection, now, busy)
            return hosts, outbox.next_at(connection, (*busy, *hosts))

        # As a write: it comes after those that were begun before.
        hosts, next_at = await self._database.write(look)
        # None of them may keep others from their turn.
        random.shuffle(hosts)
        for host in hosts[: CONCURRENCY - len(self._turns)]:
            self._begin_turn(host)
        return IDLE_S if next_at is None else max(0.0, next_at - now)

    def _begin_turn(self, host: str) -> None:
        def end(_: asyncio.Task[None]) -> None:
            del self._turns[host]
            self._woken.set()

        self._turns[host] = turn = asyncio.create_task(self._serve(host))
        turn.add_done_callback(end)

    async def _serve(self, host: str) -> None:
        """Send what is due to a host, one after the other."""
        try:
            for _ in range(TURN):
                if not await self._send_next(host):
                    return
        except Exception as error:
            log.error("webhooks_not_sent", host=host, exc_info=error)
            # What cannot be written down would be sent again at once.
            await asyncio.sleep(PAUSE_S)

    async def _send_next(self, host: str) -> bool:
        """Whether there was something."""
        now = self._clock()
        delivery = await self._database.read(lambda c: outbox.first_due(c, host, now))
        if delivery is not None:
            await self._attempt(delivery)
        return delivery is not None

    async def _attempt(self, delivery: Delivery) -> None:
        now = self._clock()
        status, error, is_down = None, None, False
        try:
            status = await self._send(delivery, now)
        except Unreachable:
            error, is_down = "the host cannot be reached", True
        except InvalidInput as refusal:
            error = refusal.message
        changes = self._outcome(delivery, status, error)

        def write(connection: Connection) -> None:
            outbox.settle(connection, delivery.id, changes)
            if is_down:
                until = self._clock() + PAUSE_S
                if delivery.event_type in self._own:
                    until = min(until, changes["next_at"] or until)
                outbox.postpone(connection, delivery.host, until)

        await self._database.write(write)
        self._sent(changes["state"])
        tell = log.warning if changes["state"] == "given_up" else log.info
        tell(
            "webhook_sent",
            id=delivery.id,
            type=delivery.event_type,
            # Not the whole URL, which may hold a secret.
            host=delivery.host,
            status=status,
            error=error,
            attempts=delivery.attempts + 1,
            state=changes["state"],
        )

    async def _send(self, delivery: Delivery, now: float) -> int:
        """The status that it is answered with. What else the answer says is not read."""
        own = self._own.get(delivery.event_type)
        link = (self._guard.link if own is None else operators_link)(delivery.url)
        signed = self._signer.headers(delivery.id, now, delivery.body)
        headers = {"Content-Type": "application/json", **signed, **(own or {})}
        call = Call("POST", headers, delivery.body)
        return await self._calls.send(link, call, _status_of, param=PARAM)

    def _outcome(
        self, delivery: Delivery, status: int | None, error: str | None
    ) -> Mapping[str, Any]:
        """What is to be known of a delivery after one more attempt."""
        now = self._clock()
        attempts = delivery.attempts + 1
        known = {"attempts": attempts, "last_status": status, "last_error": error}
        if status is not None and 200 <= status < 300:
            return {**known, "state": "delivered", "next_at": None, "ended_at": now}
        delay_s = self._delay_s(delivery)
        if status == GONE or now + delay_s > delivery.created_at + GIVE_UP_S:
            return {**known, "state": "given_up", "next_at": None, "ended_at": now}
        return {**known, "state": "pending", "next_at": now + delay_s}

    def _delay_s(self, delivery: Delivery) -> float:
        """Until it is sent again."""
        spread, failed = 2 * self._chance() - 1, delivery.attempts
        if delivery.event_type in self._own:
            if failed < retrying.RETRIES:
                soon_s = retrying.FIRST_WAIT_S * retrying.WAIT_GROWTH**failed
                return soon_s * (1 + retrying.JITTER * spread)
            failed -= retrying.RETRIES - 1
        delay_s = min(FIRST_DELAY_S * DELAY_GROWTH ** min(failed, 16), MAX_DELAY_S)
        return delay_s * (1 + JITTER * spread)


def _status_of(answer: http.client.HTTPResponse) -> int:
    return answer.status
