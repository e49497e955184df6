"""Loops that look after something beside all requests, until the server stops."""

from __future__ import annotations

import asyncio
import contextlib


async def stop_loop(task: asyncio.Task[None]) -> None:
    """Cancel it and wait until it has ended. Raises what it had failed with before."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
