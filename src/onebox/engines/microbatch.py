"""Engine `microbatch`: requests that may be merged run as one, within limits.

For short work that leaves most of the device idle when it runs alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from onebox.engines.gate import Gate
from onebox.engines.queue_engine import QueueEngine
from onebox.engines.window import Window
from onebox.engines.work import Memory, Runner, Work

MAX_WINDOW_S = 0.005


class MicrobatchEngine(QueueEngine):
    """Runs the requests of one bundle in batches of equal `batch_key`.

    Args:
        max_window_s: the most that a batch waits to be filled; see `Window`.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        memory: Memory,
        run: Runner,
        gate: Gate,
        *,
        max_window_s: float = MAX_WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        merging = Merging(memory.working_bytes, Window(max_window_s, clock))
        super().__init__(name, memory, run, gate, merging, clock)


class Merging:
    """The `Gathering` of works of equal keys, in the order of the queue.

    Only works of one priority are merged: a less urgent one would make the urgent ones wait for it.

    Args:
        working_bytes: the most working memory that a batch with this work may take together.
    """

    def __init__(self, working_bytes: Callable[[Work], int], window: Window) -> None:
        self._working_bytes = working_bytes
        self._window = window

    def arrived(self) -> None:
        self._window.arrived()

    def choose(self, waiting: Sequence[Work]) -> list[Work]:
        """The first goes in any case; of the others those that fit, also behind one that does not:
        that one is the first in its caller's next turn.
        """
        first = waiting[0]
        chosen = [first]
        if first.batch_key is None:
            return chosen
        items, max_items = first.items, first.max_items
        left_bytes = self._working_bytes(first) - first.reserve_bytes
        for work in waiting[1:]:
            may_join = work.batch_key == first.batch_key and work.priority == first.priority
            fits = items + work.items <= min(max_items, work.max_items)
            if may_join and fits and work.reserve_bytes <= left_bytes:
                chosen.append(work)
                items, max_items = items + work.items, min(max_items, work.max_items)
                left_bytes -= work.reserve_bytes
        return chosen

    def hold_s(self, batch: Sequence[Work]) -> float:
        is_full = sum(work.items for work in batch) >= min(work.max_items for work in batch)
        return 0.0 if batch[0].batch_key is None or is_full else self._window.length_s(len(batch))

    def ran(self, works: int, run_s: float) -> None:
        self._window.ran(works, run_s)
