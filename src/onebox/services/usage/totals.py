"""`Totals`: what each caller took today and this month, in memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from onebox.core.units import DAY_S
from onebox.services.usage.usage import Amounts, Usage, day_of

Period = Literal["day", "month"]


@dataclass(frozen=True, slots=True)
class Now:
    """A day of UTC, and when it and its month end, in seconds since 1970."""

    day: str
    day_end: float
    month_end: float

    @property
    def month_start(self) -> str:
        """The first day of the month."""
        return self.day[:8] + "01"

    def end_of(self, period: Period) -> float:
        return self.day_end if period == "day" else self.month_end


def now_of(at: float) -> Now:
    midnight = datetime.fromtimestamp(at, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    # From any day of a month 31 days on is in the next one.
    next_month = (midnight.replace(day=1) + timedelta(days=31)).replace(day=1)
    day_end = midnight + timedelta(days=1)
    return Now(day_of(at), day_end.timestamp(), next_month.timestamp())


class Totals:
    """Begins a new day at midnight UTC by itself. Lives on the gateway's event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._now = now_of(clock())
        self._day: defaultdict[str, Amounts] = defaultdict(Amounts)
        self._month: defaultdict[str, Amounts] = defaultdict(Amounts)

    @property
    def now(self) -> Now:
        """Of this moment."""
        at = self._clock()
        if not self._now.day_end - DAY_S <= at < self._now.day_end:
            before, self._now = self._now, now_of(at)
            self._day.clear()
            if before.month_end != self._now.month_end:
                self._month.clear()
        return self._now

    def seconds_until(self, at: float) -> float:
        return max(0.0, at - self._clock())

    def of(self, caller: str, period: Period) -> Amounts:
        """What a caller took since the period began."""
        found = self._day if self.now and period == "day" else self._month
        return found.get(caller, Amounts())

    def add(self, usage: Usage) -> None:
        now = self.now
        if now.month_start <= usage.day:
            self._month[usage.caller] += usage.amounts
        if now.day <= usage.day:
            self._day[usage.caller] += usage.amounts

    def replace(
        self,
        now: Now,
        day: Mapping[str, Amounts],
        month: Mapping[str, Amounts],
        unwritten: Iterable[Usage],
    ) -> None:
        """What the database told of a moment, and what is not in it yet."""
        if now != self.now:
            # Midnight came between; the next look tells of the new day.
            return
        self._day = defaultdict(Amounts, day)
        self._month = defaultdict(Amounts, month)
        for usage in unwritten:
            self.add(usage)
