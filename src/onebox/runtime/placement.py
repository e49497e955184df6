"""Which worker gets a request. A pure choice over plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker as one request for one checkpoint sees it.

    Attributes:
        loaded: it has the bundle, or requests that will make it load it.
        waiting: requests for this checkpoint that wait there.
        pending: all requests there.
        free_bytes: of its memory pool, not used by anything.
        loaded_bytes: of all its bundles.
        idle_bytes: of bundles in the pool that may be evicted now.
    """

    index: int
    loaded: bool
    waiting: int
    pending: int
    free_bytes: int
    idle_bytes: int
    pool_bytes: int
    loaded_bytes: int = 0


def choose_worker(views: Sequence[WorkerView], needed_bytes: int, *, replicate_at: int) -> int:
    """The index of the worker that should run it; there must be at least one.

    A loaded bundle is used where the fewest wait for it. When `replicate_at` or more wait even
    there, it is loaded once more on an idle worker that has room for it as it is. What is loaded
    nowhere goes where the least must be evicted; a pool it can never fit is the last choice.
    """
    loaded = [view for view in views if view.loaded]
    if not loaded:
        return min(views, key=lambda view: _cost(view, needed_bytes)).index
    shortest = min(loaded, key=lambda view: (view.waiting, view.pending, view.index))
    if shortest.waiting >= replicate_at:
        spare = [view.index for view in views if _has_room_to_spare(view, needed_bytes)]
        return min(spare, default=shortest.index)
    return shortest.index


def _cost(view: WorkerView, needed_bytes: int) -> tuple[bool, bool, int, int, int, int]:
    """Smallest first: fits at all, needs no lease to end, bytes to evict, requests, bytes there."""
    evict_bytes = max(needed_bytes - view.free_bytes, 0)
    return (
        needed_bytes > view.pool_bytes,
        evict_bytes > view.idle_bytes,
        evict_bytes,
        view.pending,
        view.loaded_bytes,
        view.index,
    )


def _has_room_to_spare(view: WorkerView, needed_bytes: int) -> bool:
    return not view.loaded and view.pending == 0 and needed_bytes <= view.free_bytes
