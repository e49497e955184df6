"""Engine `exclusive`: one request at a time, each in one go.

For work that fills the device alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from onebox.engines.gate import Gate
from onebox.engines.queue_engine import QueueEngine
from onebox.engines.work import Memory, Runner, Work


class ExclusiveEngine(QueueEngine):
    """Runs the requests of one bundle one after another."""

    def __init__(self, name: str, memory: Memory, run: Runner, gate: Gate) -> None:
        super().__init__(name, memory, run, gate, Alone())


class Alone:
    """The `Gathering` of batches of one."""

    def arrived(self) -> None:
        return

    def choose(self, waiting: Sequence[Work]) -> list[Work]:
        return [waiting[0]]

    def hold_s(self, batch: Sequence[Work]) -> float:
        return 0.0

    def ran(self, works: int, run_s: float) -> None:
        return
