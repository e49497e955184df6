"""Calls that several wait for, and what they found, remembered for a while."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

# Of each hook: answers that are remembered, and questions that may be on their way.
REMEMBERED = 10_000
ON_THEIR_WAY = 256
BUSY_RETRY_S = 1.0

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TooManyCalls(Exception):
    """As many as may be are on their way."""


class Memory(Generic[K, V]):
    """What was found, for some seconds; the longest unused goes first when it is full.

    Args:
        size: how much is remembered at most.
        clock: seconds that only grow.
    """

    def __init__(
        self, seconds: float, size: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._found: OrderedDict[K, tuple[float, V]] = OrderedDict()

    def get(self, key: K) -> V | None:
        found = self._found.get(key)
        if found is None:
            return None
        until, value = found
        if self._clock() >= until:
            del self._found[key]
            return None
        self._found.move_to_end(key)
        return value

    def put(self, key: K, value: V) -> None:
        if self._seconds <= 0:
            return
        self._found[key] = self._clock() + self._seconds, value
        self._found.move_to_end(key)
        if len(self._found) > self._size:
            self._found.popitem(last=False)


class SharedCalls(Generic[K, V]):
    """One call at a time for each key, whoever else asks for the same waits for it too.

    Who leaves ends only their own waiting; a call that nobody waits for any more is cancelled.

    Args:
        limit: calls that may be on their way.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._calls: dict[K, _Call[V]] = {}

    async def get(self, key: K, call: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What the call gives, or raises. Raises TooManyCalls."""
        shared = self._calls.get(key)
        if shared is None:
            if len(self._calls) >= self._limit:
                raise TooManyCalls
            shared = self._calls[key] = _Call(asyncio.create_task(call()))
            shared.task.add_done_callback(lambda _: self._forget(key, shared))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting:
                # Nobody may join what is being cancelled.
                self._forget(key, shared)
                shared.task.cancel()

    async def close(self) -> None:
        """Cancel what is on its way."""
        tasks = {shared.task for shared in self._calls.values()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _forget(self, key: K, shared: _Call[V] | None) -> None:
        if self._calls.get(key) is shared:
            del self._calls[key]


@dataclass(slots=True, eq=False)
class _Call(Generic[V]):
    task: asyncio.Task[V]
    waiting: int = 0
