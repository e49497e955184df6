"""Work that goes on when the request that began it has been answered."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from onebox.core.errors import QueueFull

log = structlog.get_logger(__name__)

MAX_WORK = 256
RETRY_S = 5.0


class Background:
    """Owns the tasks, by name. Lives on the gateway's event loop.

    Args:
        limit: how many there may be.
    """

    def __init__(self, limit: int = MAX_WORK) -> None:
        self._limit = limit
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()

    def require_room(self) -> None:
        """Raises QueueFull when no more can be started."""
        if len(self._tasks) >= self._limit:
            raise QueueFull(
                f"{len(self._tasks)} requests run in the background, at most {self._limit} may; "
                "try again later",
                details={"running": len(self._tasks), "max": self._limit},
                retry_after_s=RETRY_S,
            )

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin it. It should end by itself, whatever happens: an error is only logged."""
        task = asyncio.get_running_loop().create_task(self._run(name, work))
        self._tasks[name] = task
        task.add_done_callback(lambda _: self._forget(name))

    async def cancel(self, name: str) -> bool:
        """Stop it and wait until it has ended; False when there is none of that name."""
        task = self._tasks.get(name)
        if task is None:
            return False
        self._cancelled.add(name)
        task.cancel()
        await asyncio.wait({task})
        return True

    def was_cancelled(self, name: str) -> bool:
        """Whether `cancel` is what stopped it, and not the end of the server."""
        return name in self._cancelled

    async def close(self) -> None:
        """Stop all of them and wait until they have ended."""
        tasks = set(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            log.error("background_work_failed", work=name, exc_info=error)

    def _forget(self, name: str) -> None:
        self._tasks.pop(name, None)
        self._cancelled.discard(name)
