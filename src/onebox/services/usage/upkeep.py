"""`Upkeep`: keeps what is known of usage as it is in the database, and the table short."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog
from sqlalchemy import Connection

from onebox.core.units import DAY_S
from onebox.services.database import Database
from onebox.services.loops import stop_loop
from onebox.services.usage import rows
from onebox.services.usage.ledger import Counters, Ledger
from onebox.services.usage.quotas import Quotas
from onebox.services.usage.usage import day_of

log = structlog.get_logger(__name__)

# How long what other processes did stays unseen.
LOOK_EVERY_S = 2.0
EXPIRE_EVERY_S = 600.0
# What is usual is first read from the requests of so long.
USUAL_DAYS = 30


class Upkeep:
    """Lives on the gateway's event loop.

    Args:
        is_shared: whether other servers write usage into the same database.
        ttl_days: how long rows are kept; 0 keeps them. Their sums by day stay.
        clock: seconds since 1970.
        ticks: any seconds that only go up, those of the holds.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        counters: Counters,
        quotas: Quotas,
        *,
        is_shared: bool,
        ttl_days: float,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        look_every_s: float = LOOK_EVERY_S,
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._counters = counters
        self._quotas = quotas
        self._is_shared = is_shared
        self._ttl_s = ttl_days * DAY_S
        self._clock = clock
        self._ticks = ticks
        self._look_every_s = look_every_s
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """What was before the server started is known on return."""
        since = day_of(self._clock() - USUAL_DAYS * DAY_S)
        usual = await self._database.read(lambda connection: rows.sums_by_kind(connection, since))
        self._counters.holds.start_with(usual)
        await self.look(totals=True)
        for name, work in (("usage-looks", self._look_on), ("usage-expiry", self._expire_on)):
            self._tasks.append(asyncio.create_task(work(), name=name))

    async def close(self) -> None:
        for task in self._tasks:
            await stop_loop(task)

    async def look(self, *, totals: bool) -> None:
        """Know what the database tells now; `totals`: also what callers took."""
        now, asked_at = self._counters.totals.now, self._ticks()

        def balances_and_jobs(
            connection: Connection,
        ) -> tuple[dict[str, float], list[tuple[str, str, str, int]]]:
            wanted = self._quotas.are_used
            return rows.balances(connection), rows.unended_jobs(connection) if wanted else []

        async with self._ledger.still() as unwritten:
            balances, jobs = await self._database.read(balances_and_jobs)
            self._counters.credits.replace(balances, unwritten)
            if totals:
                sums = await self._database.read(lambda it: rows.sums_of_now(it, now))
                self._counters.totals.replace(now, *sums, unwritten)
        self._counters.holds.promise(jobs, asked_at)

    async def expire(self) -> None:
        """Delete the rows that are past their time."""
        if not self._ttl_s:
            return
        before = self._clock() - self._ttl_s
        while (
            await self._database.write(lambda connection: rows.expire(connection, before))
            >= rows.CHUNK
        ):
            pass

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._look_every_s)
            try:
                await self.look(totals=self._is_shared)
            except Exception as error:
                # What is known stays known meanwhile.
                log.error("usage_not_refreshed", exc_info=error)

    async def _expire_on(self) -> None:
        while True:
            try:
                await self.expire()
            except Exception as error:
                log.error("usage_not_tidied", exc_info=error)
            await asyncio.sleep(EXPIRE_EVERY_S)
