"""A desk with a runner, whose meters measure 1000, 1001, …"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from onebox.core.contracts import RunContext
from onebox.runtime.worker.request import Request
from onebox.runtime.worker.runner import TaskRunner
from tests.unit.runtime.clients import CPU
from tests.unit.runtime.desk import Desk


class Meters:
    """Makes meters that measure 1000, 1001, … and notes which were started and stopped."""

    def __init__(self) -> None:
        self.started = 0
        self.measures: bool = True

    def __call__(self, device: Any) -> Any:
        return SimpleNamespace(start=self._start, stop=self._stop)

    def _start(self) -> None:
        self.started += 1

    def _stop(self) -> int | None:
        return 999 + self.started if self.measures else None


class Bench(Desk):
    """A desk with a runner."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.meters = Meters()
        self.runner = TaskRunner(CPU, self.meters)
        self.between: list[str] = []

    def run(self, *requests: Request, lean: bool = False, between=lambda: None) -> None:
        works = [request.work() for request in requests]
        self.runner(works, "weights", between, lean=lean)

    def peak_of(self, name: str, **fields: Any) -> int | None:
        """Run one request alone."""
        self.run(self.request(name, **fields))
        return self.answers()[name].peak_bytes


def two_steps(context: RunContext) -> None:
    for step in (1, 2):
        context.step(step, 2)
