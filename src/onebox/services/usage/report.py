"""`Report`: what was used, summed up, and request by request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, func, literal_column, select

from onebox.core.usage_units import UNITS
from onebox.services.database import Database
from onebox.services.tables import USAGE, USAGE_DAYS
from onebox.services.usage.rows import text_of, unit_sums

Bucket = Literal["day", "month"]
Grouping = Literal["key", "model", "task", "status"]
SUMMED = ("ended", *UNITS)

_days = USAGE_DAYS.c
_COLUMNS = {
    "key": _days.caller,
    "model": _days.model,
    "task": _days.task,
    "status": _days.status,
}


@dataclass(frozen=True, slots=True)
class SumsQuery:
    """Which usage is summed up, and how.

    Attributes:
        start, end: days of UTC, both included.
        caller, model, task: None for all.
        group_by: what sums are told apart by.
        bucket: into what the time is cut; None: not at all.
        page: counted from 1.
    """

    start: str
    end: str
    caller: str | None = None
    model: str | None = None
    task: str | None = None
    group_by: Sequence[Grouping] = ()
    bucket: Bucket | None = None
    limit: int = 100
    page: int = 1


@dataclass(frozen=True, slots=True)
class Sums:
    """One page of sums, and that of all of them. `ended` counts all requests, also those that did
    not end well.
    """

    rows: list[dict[str, Any]]
    total: dict[str, Any]
    has_more: bool


class Report:
    """Reads the database, to which usage comes within a second."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(self, wanted: SumsQuery) -> Sums:
        return await self._database.read(lambda connection: read_sums(connection, wanted))

    async def requests(
        self, *, caller: str | None, after: str | None, limit: int
    ) -> tuple[list[dict[str, Any]], bool]:
        """Single requests, the newest first, those before one of them; whether there are more."""
        query = select(USAGE).order_by(USAGE.c.id.desc()).limit(limit + 1)
        if caller is not None:
            query = query.where(USAGE.c.caller == text_of(caller))
        if after is not None:
            query = query.where(USAGE.c.id < after)

        def read(connection: Connection) -> list[dict[str, Any]]:
            return [dict(row) for row in connection.execute(query).mappings()]

        found = await self._database.read(read)
        return found[:limit], len(found) > limit


def read_sums(connection: Connection, wanted: SumsQuery) -> Sums:
    found = connection.execute(sums_query(wanted)).mappings().all()
    rows, has_more = [_whole(row) for row in found[: wanted.limit]], len(found) > wanted.limit
    if wanted.page == 1 and not has_more:
        total = {name: sum(row[name] for row in rows) for name in SUMMED}
    else:
        total = _whole(connection.execute(_filtered(select(*_sums()), wanted)).mappings().one())
    return Sums(rows, total, has_more)


def sums_query(wanted: SumsQuery) -> Select[Any]:
    """One row more than the page has."""
    # Sorted by what they are grouped by, so that pages do not overlap.
    named: list[ColumnElement[Any]] = [_COLUMNS[name] for name in wanted.group_by]
    if wanted.bucket is not None:
        named.insert(0, _bucket(wanted.bucket))
    labels = [*([wanted.bucket] if wanted.bucket else ()), *wanted.group_by]
    shown = [column.label(label) for column, label in zip(named, labels, strict=True)]
    query = _filtered(select(*shown, *_sums()), wanted)
    if named:
        query = query.group_by(*named).order_by(*named)
    return query.limit(wanted.limit + 1).offset((wanted.page - 1) * wanted.limit)


def _sums() -> list[ColumnElement[Any]]:
    return [func.sum(_days.ended).label("ended"), *unit_sums()]


def _bucket(bucket: Bucket) -> ColumnElement[Any]:
    if bucket == "day":
        return _days.day
    # Numbers in the text of the statement: as parameters, twice the same would be two expressions.
    return func.substr(_days.day, literal_column("1"), literal_column("7"))


def _filtered(query: Select[Any], wanted: SumsQuery) -> Select[Any]:
    query = query.where(_days.day.between(wanted.start, wanted.end))
    for column, value in (
        (_days.caller, wanted.caller),
        (_days.model, wanted.model),
        (_days.task, wanted.task),
    ):
        if value is not None:
            query = query.where(column == text_of(value))
    return query


def _whole(row: Any) -> dict[str, Any]:
    """A sum of nothing is none, which counts as 0."""
    return {name: 0 if value is None else value for name, value in row.items()}
