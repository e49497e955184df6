"""Usage and credits as rows: what the threads of the database do for the ledger."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from onebox.core.usage_units import UNITS
from onebox.services.tables import CREDITS, JOBS, USAGE, USAGE_DAYS
from onebox.services.usage.holds import Kind
from onebox.services.usage.totals import Now
from onebox.services.usage.usage import Amounts, Usage, amounts_of, total

# Rows of one statement: databases bound the values that one may name.
CHUNK = 500
# Of the sums: what names a row.
NAMED = ("day", "caller", "task", "model", "status")

_days = USAGE_DAYS.c


def add(connection: Connection, group: Sequence[Usage]) -> list[Usage]:
    """Store them, add them to the sums, and charge them. Returns those that were not there before:
    whether the last attempt to store a group was a success is not always known.
    """
    stored = _stored(connection, group)
    new = [usage for usage in group if usage.id not in stored]
    if new:
        connection.execute(insert(USAGE), [_row_of(usage) for usage in new])
        connection.execute(adding_on(connection.dialect.name), _sums_of(new))
        _charge(connection, new)
    return new


def sums_by_caller(connection: Connection, since: str, until: str) -> dict[str, Amounts]:
    """What each caller took from one day to another, both included."""
    query = (
        select(_days.caller, *unit_sums())
        .where(_days.day.between(since, until))
        .group_by(_days.caller)
    )
    return {row["caller"]: amounts_of(row) for row in _mappings(connection, query)}


def sums_of_now(connection: Connection, now: Now) -> tuple[dict[str, Amounts], dict[str, Amounts]]:
    """What each caller took this day and this month."""
    day = sums_by_caller(connection, now.day, now.day)
    return day, sums_by_caller(connection, now.month_start, now.day)


def sums_by_kind(connection: Connection, since: str) -> dict[Kind, Amounts]:
    """What requests that ended well took since a day, by task and model."""
    query = (
        select(_days.task, _days.model, *unit_sums())
        .where(_days.day >= since, _days.status == "ok")
        .group_by(_days.task, _days.model)
    )
    return {(row["task"], row["model"]): amounts_of(row) for row in _mappings(connection, query)}


def balances(connection: Connection) -> dict[str, float]:
    return {row.caller: row.balance for row in connection.execute(select(CREDITS))}


def unended_jobs(connection: Connection) -> list[tuple[str, str, str, int]]:
    """How many there are of each caller, task and model."""
    kind = (JOBS.c.caller, JOBS.c.task, JOBS.c.model)
    query = select(*kind, func.count()).where(JOBS.c.state.in_(("queued", "running")))
    rows = connection.execute(query.group_by(*kind))
    return [(caller, task, model, count) for caller, task, model, count in rows]


def expire(connection: Connection, before: float) -> int:
    """Delete rows of requests that ended before; returns how many, at most `CHUNK`."""
    oldest = select(USAGE.c.id).where(USAGE.c.at < before).order_by(USAGE.c.at).limit(CHUNK)
    ids = list(connection.scalars(oldest))
    connection.execute(delete(USAGE).where(USAGE.c.id.in_(ids)))
    return len(ids)


def unit_sums() -> list[ColumnElement[Any]]:
    """Of the rows of `usage_days`."""
    return [func.sum(_days[unit]).label(unit) for unit in UNITS]


def text_of(text: str) -> str:
    """What every database takes: names of files and claims of tokens may hold other things."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\ufffd")


def _stored(connection: Connection, group: Sequence[Usage]) -> set[str]:
    ids = (usage.id for usage in group)
    return {
        found
        for chunk in _chunks(ids)
        for found in connection.scalars(select(USAGE.c.id).where(USAGE.c.id.in_(chunk)))
    }


def _chunks(ids: Iterator[str]) -> Iterator[list[str]]:
    while chunk := list(itertools.islice(ids, CHUNK)):
        yield chunk


def _row_of(usage: Usage) -> dict[str, Any]:
    return {
        "id": usage.id,
        "at": usage.at,
        "day": usage.day,
        "caller": text_of(usage.caller),
        "task": text_of(usage.task),
        "model": text_of(usage.model),
        "status": usage.status,
        "request_id": text_of(usage.request_id),
        "job_id": usage.job_id,
        **usage.amounts.by_unit(),
    }


def _sums_of(group: Sequence[Usage]) -> list[dict[str, Any]]:
    """Ordered: two servers that add to the same rows must not wait for each other."""
    found: dict[tuple[str, ...], list[Amounts]] = {}
    for usage in group:
        texts = map(text_of, (usage.caller, usage.task, usage.model))
        found.setdefault((usage.day, *texts, usage.status_class), []).append(usage.amounts)
    return [
        {
            **dict(zip(NAMED, named, strict=True)),
            "ended": len(amounts),
            **total(amounts).by_unit(),
        }
        for named, amounts in sorted(found.items())
    ]


def inserting(dialect: str, table: Table) -> Any:
    """An INSERT that can say what becomes of a row that is there: in the SQL of one kind of
    database.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)


def adding_on(dialect: str) -> Any:
    """Adds to a row of the sums, or makes it."""
    statement = inserting(dialect, USAGE_DAYS)
    new = statement.excluded
    added = {name: _days[name] + new[name] for name in ("ended", *UNITS)}
    return statement.on_conflict_do_update(index_elements=NAMED, set_=added)


def _charge(connection: Connection, group: Sequence[Usage]) -> None:
    """Who has no balance has nothing to lose."""
    costs: dict[str, float] = {}
    for usage in group:
        if usage.amounts.credits:
            caller = text_of(usage.caller)
            costs[caller] = costs.get(caller, 0.0) + usage.amounts.credits
    if not costs:
        return
    statement = (
        update(CREDITS)
        .where(CREDITS.c.caller == bindparam("of"))
        .values(balance=CREDITS.c.balance - bindparam("cost"), changed_at=bindparam("now"))
    )
    at = max(usage.at for usage in group)
    rows = [{"of": caller, "cost": costs[caller], "now": at} for caller in sorted(costs)]
    connection.execute(statement, rows)


def _mappings(connection: Connection, query: Any) -> Sequence[RowMapping]:
    return connection.execute(query).mappings().all()
