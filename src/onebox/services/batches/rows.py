"""Batches as rows: what the threads of the database do for `Batches`."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.engine import Row

from onebox.services.access.caller import Allowance
from onebox.services.batches.batch import ACTIVE, Batch, BatchNotFound, State
from onebox.services.jobs.job import Job
from onebox.services.tables import BATCHES

# Fields that are JSON in a row, and their types.
JSON_FIELDS: dict[str, Any] = {
    "times": dict[str, float],
    "metadata": dict[str, str],
    "errors": list[dict[str, Any]],
    "allowance": Allowance,
}


def add(connection: Connection, batch: Batch) -> None:
    connection.execute(insert(BATCHES).values(_values(dataclasses.asdict(batch))))


def load(connection: Connection, batch_id: str, caller: str | None) -> Batch:
    """`caller` None is anybody. Raises BatchNotFound, also for those of other callers."""
    row = connection.execute(select(BATCHES).where(BATCHES.c.id == batch_id)).one_or_none()
    if row is None or caller not in (None, row.caller):
        raise BatchNotFound(f"there is no batch {batch_id[:64]}", param="batch_id")
    return _batch_of(row)


def page(
    connection: Connection, caller: str, *, after: str | None, limit: int
) -> tuple[list[Batch], bool]:
    """The newest first, and whether there are more. `after` need not exist any more."""
    wanted = [BATCHES.c.caller == caller]
    # Ids sort by time.
    if after is not None:
        wanted.append(BATCHES.c.id < after)
    newest = select(BATCHES).where(*wanted).order_by(BATCHES.c.id.desc()).limit(limit + 1)
    found = [_batch_of(row) for row in connection.execute(newest)]
    return found[:limit], len(found) > limit


def active(connection: Connection, caller: str | None = None) -> list[str]:
    """Ids of those that have not ended, the oldest first. `caller` None is anybody."""
    wanted: list[Any] = [BATCHES.c.state.in_(ACTIVE)]
    if caller is not None:
        wanted.append(BATCHES.c.caller == caller)
    return list(connection.scalars(select(BATCHES.c.id).where(*wanted).order_by(BATCHES.c.id)))


def adopted(connection: Connection, owner: str | None) -> list[str]:
    """The same of a server, and of no server, which become its; None: there is no other."""
    if owner is None:
        return active(connection)
    connection.execute(update(BATCHES).where(BATCHES.c.owner.is_(None)).values(owner=owner))
    own = select(BATCHES.c.id).where(BATCHES.c.state.in_(ACTIVE), BATCHES.c.owner == owner)
    return list(connection.scalars(own.order_by(BATCHES.c.id)))


def change(connection: Connection, batch_id: str, **changes: Any) -> None:
    connection.execute(update(BATCHES).where(BATCHES.c.id == batch_id).values(_values(changes)))


def move(
    connection: Connection,
    batch_id: str,
    state: State,
    *,
    of: Collection[State],
    now: float,
    **changes: Any,
) -> Batch:
    """The batch in its new state; as it is when it was in none `of` those that lead there."""
    locked = select(BATCHES).where(BATCHES.c.id == batch_id).with_for_update()
    row = connection.execute(locked).one_or_none()
    if row is None:
        raise BatchNotFound(f"there is no batch {batch_id}", param="batch_id")
    batch = _batch_of(row)
    if batch.state not in of:
        return batch
    moved: dict[str, Any] = {
        "state": state,
        "times": {**batch.times, f"{state}_at": now},
        **changes,
    }
    change(connection, batch_id, **moved)
    return dataclasses.replace(batch, **moved)


def count_line(connection: Connection, job: Job) -> str | None:
    """To be called when a job's state has changed; the batch that may have ended by that.

    One that is cancelled has failed, unless its batch is what is cancelled.
    """
    if job.group is None or not job.has_ended:
        return None
    own = BATCHES.c.id == job.group
    row = connection.execute(select(BATCHES).where(own).with_for_update()).one_or_none()
    if row is None or row.state not in ACTIVE:
        return None
    if job.state == "cancelled" and row.state == "cancelling":
        return None
    counter = "completed" if job.state == "completed" else "failed"
    count = getattr(row, counter) + 1
    connection.execute(update(BATCHES).where(own).values({counter: count}))
    return job.group if row.completed + row.failed + 1 >= row.total else None


def _values(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: msgspec.json.encode(value) if name in JSON_FIELDS and value is not None else value
        for name, value in fields.items()
    }


def _batch_of(row: Row[Any]) -> Batch:
    values = row._asdict()
    for name, kind in JSON_FIELDS.items():
        if values[name] is not None:
            values[name] = msgspec.json.decode(values[name], type=kind)
    return Batch(**values)
