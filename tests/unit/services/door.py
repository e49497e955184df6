"""An admission that tests drive."""

from __future__ import annotations

import pytest

from onebox.core.errors import AppError, ConcurrencyLimited, QueueFull
from onebox.services.admission import Admission, Ticket


class Door:
    """An admission with a clock that only the test moves, and no jitter unless it is asked for."""

    def __init__(
        self,
        *,
        waiting: int = 1000,
        per_model: int = 1000,
        per_caller: int | None = None,
        jitter: float = 0.0,
    ) -> None:
        self.now = 100.0
        self.admission = Admission(
            max_waiting=waiting,
            max_waiting_per_model=per_model,
            max_per_caller=per_caller,
            clock=lambda: self.now,
            jitter=lambda: jitter,
        )

    def enter(self, worker: int = 0, key: str = "k", caller: str = "c") -> Ticket:
        return self.admission.enter(worker, key, f"name-of-{key}", caller)

    def run(self, seconds: float, **where: object) -> None:
        """One request alone, from its entry to its end."""
        self.finish(self.enter(**where), seconds)

    def finish(self, ticket: Ticket, seconds: float, *, ok: bool = True) -> None:
        ticket.started()
        self.now += seconds
        ticket.close(ok=ok)

    def queue(self, count: int, **where: object) -> list[Ticket]:
        return [self.enter(**where) for _ in range(count)]

    def retry_after_s(self, worker: int = 0, key: str = "k") -> float:
        return self.admission.retry_after_s(worker, key)


def refused(door: Door, **where: object) -> AppError:
    with pytest.raises((QueueFull, ConcurrencyLimited)) as caught:
        door.enter(**where)
    return caught.value
