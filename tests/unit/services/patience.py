"""Time that a test moves by hand: a clock, and waits that only move it."""

from __future__ import annotations


class Time:
    """Starts at zero. `waits` are those that were slept, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds
