"""`Usage`: what one request took, as the ledger keeps it."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from onebox.core.usage_units import UNITS

StatusClass = Literal["ok", "cancelled", "failed"]
OK, CANCELLED = "ok", "cancelled"


class Amounts(msgspec.Struct, frozen=True):
    """So much of each unit. Fields are named and ordered as `UNITS`."""

    requests: float = 0
    prompt_tokens: float = 0
    completion_tokens: float = 0
    cached_tokens: float = 0
    pictures: float = 0
    audio_seconds: float = 0
    video_seconds: float = 0
    device_seconds: float = 0
    credits: float = 0

    @property
    def tokens(self) -> float:
        """Read and written."""
        return self.prompt_tokens + self.completion_tokens

    def by_unit(self) -> dict[str, float]:
        return msgspec.structs.asdict(self)

    def __add__(self, other: Amounts) -> Amounts:
        return Amounts(*map(operator.add, _values(self), _values(other)))

    def __sub__(self, other: Amounts) -> Amounts:
        return Amounts(*map(operator.sub, _values(self), _values(other)))

    def times(self, factor: float) -> Amounts:
        return Amounts(*(value * factor for value in _values(self)))


class Usage(msgspec.Struct, frozen=True):
    """A request to a task that has ended.

    Attributes:
        id: unique for ever; ids of later requests sort after it.
        at: when it ended, in seconds since 1970.
        caller: whose it was (`Caller.id`).
        status: "ok", "cancelled" or the code of the error that it ended in.
        request_id: what the client names it, or the job's id and number.
        job_id: of the job that it was a part of.
        amounts: what counts; of one that did not end well only what ran.
    """

    id: str
    at: float
    caller: str
    task: str
    model: str
    status: str
    request_id: str
    job_id: str | None = None
    amounts: Amounts = Amounts()

    @property
    def day(self) -> str:
        """Of UTC, such as 2026-01-31."""
        return day_of(self.at)

    @property
    def status_class(self) -> StatusClass:
        return class_of(self.status)


def class_of(status: str) -> StatusClass:
    if status == OK:
        return "ok"
    return "cancelled" if status == CANCELLED else "failed"


def day_of(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")


def total(amounts: Iterable[Amounts]) -> Amounts:
    found = Amounts()
    for each in amounts:
        found = found + each
    return found


def amounts_of(row: Mapping[Any, Any]) -> Amounts:
    """Of a row with a column for each unit."""
    return Amounts(*(row[unit] or 0 for unit in UNITS))


def _values(amounts: Amounts) -> tuple[float, ...]:
    values: tuple[float, ...] = msgspec.structs.astuple(amounts)
    return values
