"""A `Ledger` on a real database, with clocks of its own; and a database that fails when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.exc import OperationalError

from onebox.services.database import Database
from onebox.services.jobs.ids import new_id
from onebox.services.tables import CREDITS, USAGE, USAGE_DAYS
from onebox.services.usage.credits import Credits
from onebox.services.usage.holds import Holds
from onebox.services.usage.ledger import Counters, Ledger
from onebox.services.usage.prices import Prices
from onebox.services.usage.quotas import Quotas
from onebox.services.usage.report import Report
from onebox.services.usage.totals import Totals
from onebox.services.usage.upkeep import Upkeep
from onebox.services.usage.usage import Amounts, Usage
from tests.support.clock import Clock

# 2026-11-22 12:00 UTC.
NOON = 1_795_348_800.0


class Flaky:
    """A database. `failures`: of the next writes; "after" ones fail when all is written."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.failures: list[str] = []
        self.writes = 0

    async def read(self, work: Callable[[Connection], Any]) -> Any:
        return await self._database.read(work)

    async def write(self, work: Callable[[Connection], Any]) -> Any:
        self.writes += 1
        failure = self.failures.pop(0) if self.failures else None
        if failure == "before":
            raise broken()
        done = await self._database.write(work)
        if failure == "after":
            raise broken()
        return done


class Books:
    """Everything that counts, on one database."""

    def __init__(
        self,
        database: Database,
        *,
        prices: dict[str, float] | None = None,
        daily: dict[str, float] | None = None,
        monthly: dict[str, float] | None = None,
        is_shared: bool = False,
        ttl_days: float = 0,
        **changes: Any,
    ) -> None:
        self.clock, self.ticks = Clock(NOON), Clock()
        self.database = Flaky(database)
        used: Any = self.database
        self.totals = Totals(self.clock)
        self.credits = Credits(used, clock=self.clock)
        charged = Prices(prices or {})
        self.holds = Holds(self.ticks, charged.priced)
        counters = Counters(self.totals, self.credits, self.holds)
        self.ledger = Ledger(
            used,
            counters,
            charged,
            clock=self.clock,
            **{"gather_s": 0.0, "pause_s": 0.0, **changes},
        )
        self.quotas = Quotas(
            self.totals, self.credits, self.holds, daily=daily or {}, monthly=monthly or {}
        )
        self.upkeep = Upkeep(
            used,
            self.ledger,
            counters,
            self.quotas,
            is_shared=is_shared,
            ttl_days=ttl_days,
            clock=self.clock,
            ticks=self.ticks,
        )
        self.report = Report(used)

    def record(self, **changes: Any) -> Usage:
        usage = used(at=self.clock(), **changes)
        self.ledger.record(usage)
        return usage

    async def look(self) -> None:
        """As a server does every few seconds."""
        await self.upkeep.look(totals=True)

    async def count(self) -> int:
        return await self.database.read(lambda it: it.scalar(select(func.count(USAGE.c.id))))

    async def sums(self) -> list[dict[str, Any]]:
        query = select(USAGE_DAYS).order_by(USAGE_DAYS.c.day, USAGE_DAYS.c.caller)
        return await self.database.read(lambda it: [dict(r) for r in it.execute(query).mappings()])

    async def balance(self, caller: str) -> float | None:
        query = select(CREDITS.c.balance).where(CREDITS.c.caller == caller)
        return await self.database.read(lambda it: it.scalar(query))


def used(
    *,
    at: float = NOON,
    caller: str = "key:1",
    task: str = "chat",
    model: str = "smol",
    status: str = "ok",
    **amounts: float,
) -> Usage:
    counted = {"requests": 1 if status == "ok" else 0, **amounts}
    return Usage(new_id("use"), at, caller, task, model, status, "r-1", None, Amounts(**counted))


def broken() -> OperationalError:
    return OperationalError("INSERT", {}, Exception("the disk is away"))


def in_loop(scene: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(120):
            return await scene

    return asyncio.run(bounded())
