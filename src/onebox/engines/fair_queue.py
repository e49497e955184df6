"""The order of waiting requests: by priority, then round robin over callers.

Plain data, no locks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from onebox.core.contracts import Priority

T = TypeVar("T")

RANKS: dict[Priority, int] = {"interactive": 0, "job": 1, "batch": 2}


class FairQueue(Generic[T]):
    """Items leave by priority; within one priority each caller gets a turn, so none can starve
    another.
    """

    def __init__(self) -> None:
        self._by_rank: dict[int, OrderedDict[str, deque[T]]] = {
            rank: OrderedDict() for rank in RANKS.values()
        }

    def put(self, item: T, *, caller: str, priority: Priority) -> None:
        self._by_rank[RANKS[priority]].setdefault(caller, deque()).append(item)

    def pop(self) -> T | None:
        """The next item, or None when empty."""
        for callers in self._by_rank.values():
            if callers:
                caller, items = next(iter(callers.items()))
                item = items.popleft()
                del callers[caller]
                if items:
                    callers[caller] = items
                return item
        return None

    def remove(self, wanted: Callable[[T], bool]) -> list[T]:
        """Take out and return all items that `wanted` is true for."""
        removed = [item for item in self if wanted(item)]
        for callers in self._by_rank.values():
            for caller in list(callers):
                callers[caller] = deque(item for item in callers[caller] if not wanted(item))
                if not callers[caller]:
                    del callers[caller]
        return removed

    def __iter__(self) -> Iterator[T]:
        for callers in self._by_rank.values():
            for items in callers.values():
                yield from items

    def __len__(self) -> int:
        return sum(len(items) for callers in self._by_rank.values() for items in callers.values())
