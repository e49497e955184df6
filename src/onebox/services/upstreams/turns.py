"""Who may ask an upstream next: by priority, then round robin over callers, as at a worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from onebox.core.contracts import Priority
from onebox.engines.fair_queue import FairQueue


class Turns:
    """So many at a time. Lives on the gateway's event loop."""

    def __init__(self, most: int) -> None:
        self._free = most
        self._queue: FairQueue[asyncio.Future[None]] = FairQueue()

    @contextlib.asynccontextmanager
    async def turn(self, caller: str, priority: Priority) -> AsyncIterator[None]:
        """The body runs when it has its turn."""
        await self._wait(caller, priority)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, caller: str, priority: Priority) -> None:
        if self._free:
            self._free -= 1
            return
        waiter = asyncio.get_running_loop().create_future()
        self._queue.put(waiter, caller=caller, priority=priority)
        try:
            await waiter
        except asyncio.CancelledError:
            if not self._queue.remove(lambda one: one is waiter):
                # It was its turn already.
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        first = next(iter(self._queue), None)
        if first is None:
            self._free += 1
            return
        self._queue.take([first])
        first.set_result(None)
