"""The order of waiting requests: by priority, then round robin over callers.

Plain data, no locks.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from onebox.core.contracts import Priority

T = TypeVar("T")

RANKS: dict[Priority, int] = {"interactive": 0, "job": 1, "batch": 2}


class FairQueue(Generic[T]):
    """Items leave by priority; within one priority each caller gets a turn, so none can starve
    another. Iterating gives the order in which they would leave.
    """

    def __init__(self) -> None:
        self._by_rank: dict[int, OrderedDict[str, deque[T]]] = {
            rank: OrderedDict() for rank in RANKS.values()
        }

    def put(self, item: T, *, caller: str, priority: Priority) -> None:
        self._by_rank[RANKS[priority]].setdefault(caller, deque()).append(item)

    def take(self, items: Iterable[T]) -> list[T]:
        """Take out and return those of them that are still there, each as its caller's turn."""
        return [item for item in items if self._take(item)]

    def remove(self, wanted: Callable[[T], bool]) -> list[T]:
        """Take out and return all items that `wanted` is true for; nobody's turn is used up."""
        removed: list[T] = []
        for callers in self._by_rank.values():
            for caller, items in list(callers.items()):
                # Asked once for each item: what is wanted may change from one moment to the next.
                kept: deque[T] = deque()
                for item in items:
                    (removed if wanted(item) else kept).append(item)
                if kept:
                    callers[caller] = kept
                else:
                    del callers[caller]
        return removed

    def best_rank(self) -> int:
        """The rank of the next item, or one worse than all when empty."""
        return next((rank for rank, callers in self._by_rank.items() if callers), len(RANKS))

    def _take(self, item: T) -> bool:
        for callers in self._by_rank.values():
            for caller, items in callers.items():
                if item in items:
                    items.remove(item)
                    del callers[caller]
                    if items:
                        callers[caller] = items
                    return True
        return False

    def __iter__(self) -> Iterator[T]:
        for callers in self._by_rank.values():
            rounds = max((len(items) for items in callers.values()), default=0)
            for turn in range(rounds):
                yield from (items[turn] for items in callers.values() if turn < len(items))

    def __len__(self) -> int:
        return sum(len(items) for callers in self._by_rank.values() for items in callers.values())
