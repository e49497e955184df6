"""`Ledger`: a row for each request that has ended."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection

from onebox.core.errors import StorageFull
from onebox.services.database import Database
from onebox.services.jobs.ids import new_id
from onebox.services.loops import stop_loop
from onebox.services.request import Prepared
from onebox.services.running import RunningRequest
from onebox.services.usage import rows
from onebox.services.usage.credits import Credits
from onebox.services.usage.holds import Holds
from onebox.services.usage.prices import Prices
from onebox.services.usage.totals import Totals
from onebox.services.usage.usage import OK, Usage

log = structlog.get_logger(__name__)

PREFIX = "use"
# So long rows gather before they are written: what a crash can lose.
GATHER_S = 0.2
# Rows of one transaction.
GROUP = 500
# About 100 MB. No request is taken on while so many cannot be written.
MAX_WAITING = 100_000
# Of a database that fails.
PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
# How often it is tried at the end of the server.
LAST_TRIES = 5
RETRY_S = 10.0

Hook = Callable[[Connection, Sequence[Usage]], None]
Listener = Callable[[Sequence[Usage]], None]


@dataclass(frozen=True, slots=True)
class Counters:
    """What is known of usage in memory."""

    totals: Totals
    credits: Credits
    holds: Holds

    def add(self, usage: Usage) -> None:
        self.totals.add(usage)
        self.credits.charge(usage)
        self.holds.learn(usage)


class Ledger:
    """Takes rows at once, and writes each of them soon and only once. Lives on the gateway's event
    loop.

    Args:
        clock: seconds since 1970.
        gather_s: how long rows gather before they are written.
        pause_s: before what could not be written is tried again; then ever longer.
        max_waiting: so many unwritten rows, and no request is taken on.

    Attributes:
        hooks: given new rows in the transaction that writes them, on a thread of the database.
        listeners: told of rows, each once, when they have been written; on the event loop.
        used_tokens: told at once of who used how many tokens.
    """

    def __init__(
        self,
        database: Database,
        counters: Counters,
        prices: Prices,
        *,
        clock: Callable[[], float] = time.time,
        gather_s: float = GATHER_S,
        pause_s: float = PAUSE_S,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self.hooks: list[Hook] = []
        self.listeners: list[Listener] = []
        self.used_tokens: Callable[[str, int], None] | None = None
        self._database = database
        self._counters = counters
        self._prices = prices
        self._clock = clock
        self._gather_s = gather_s
        self._pause_s = pause_s
        self._max_waiting = max_waiting
        self._waiting: deque[Usage] = deque()
        self._wake = asyncio.Event()
        self._writing = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Rows that wait to be written."""
        return len(self._waiting)

    async def start(self) -> None:
        """From now on rows are written by themselves."""
        self._task = asyncio.create_task(self._run(), name="usage-ledger")

    async def close(self) -> None:
        """Write what waits. When the last requests have ended."""
        if self._task is not None:
            await stop_loop(self._task)
        for tried in range(LAST_TRIES):
            if await self._flushed():
                return
            if tried < LAST_TRIES - 1:
                await asyncio.sleep(self._pause_s)
        log.error("usage_lost", rows=len(self._waiting))

    def require_room(self) -> None:
        """Raises StorageFull when no more rows can be taken."""
        if len(self._waiting) >= self._max_waiting:
            raise StorageFull(
                f"the usage of {len(self._waiting)} requests could not be written yet, and no "
                "more are taken on before it is; the server's log says what is wrong",
                details={"waiting": len(self._waiting)},
                retry_after_s=RETRY_S,
            )

    def ended(self, prepared: Prepared, running: RunningRequest, status: str) -> None:
        """A request has ended: "ok", "cancelled", or with the code of an error."""
        if not prepared.task.is_counted:
            return
        usage = Usage(
            id=new_id(PREFIX),
            at=self._clock(),
            caller=prepared.caller,
            task=prepared.task.name,
            model=prepared.entry.name,
            status=status,
            request_id=prepared.options.client_id,
            job_id=prepared.job_id,
            amounts=running.meter.amounts(ok=status == OK),
        )
        prepared.credits = self.record(usage).amounts.credits
        if prepared.hold is not None:
            prepared.hold.release()

    def record(self, usage: Usage) -> Usage:
        """Count, charge and keep it. Returns it with what it costs."""
        usage = self._prices.charged(usage)
        self._waiting.append(usage)
        self._wake.set()
        self._counters.add(usage)
        tokens = usage.amounts.tokens
        if tokens and self.used_tokens is not None:
            self.used_tokens(usage.caller, int(tokens))
        return usage

    async def flush(self) -> None:
        """Write what waits. Raises what the database does; then it still waits."""
        while self._waiting:
            async with self._writing:
                group = list(itertools.islice(self._waiting, GROUP))
                # When this is cancelled, the group is written, and then looked for once more.
                await self._database.write(partial(self._store, group=group))
                for _ in group:
                    self._waiting.popleft()
            self._tell(group)

    @contextlib.asynccontextmanager
    async def still(self) -> AsyncIterator[Sequence[Usage]]:
        """Nothing is written meanwhile. Gives what is not in the database, and grows."""
        async with self._writing:
            yield self._waiting

    async def _run(self) -> None:
        pause_s = self._pause_s
        while True:
            await self._wake.wait()
            self._wake.clear()
            await asyncio.sleep(self._gather_s)
            if await self._flushed():
                pause_s = self._pause_s
            else:
                self._wake.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _flushed(self) -> bool:
        try:
            await self.flush()
        except Exception as error:
            # Disks and databases have bad moments: nothing is thrown away for one.
            log.error("usage_not_written", rows=len(self._waiting), exc_info=error)
            return False
        return True

    def _store(self, connection: Connection, group: Sequence[Usage]) -> None:
        new = rows.add(connection, group)
        for hook in self.hooks if new else ():
            hook(connection, new)

    def _tell(self, group: Sequence[Usage]) -> None:
        for listener in self.listeners:
            try:
                listener(group)
            except Exception as error:
                log.error("usage_listener_failed", exc_info=error)
