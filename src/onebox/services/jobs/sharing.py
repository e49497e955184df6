"""Jobs of several servers in one table, and the servers, as rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from onebox.services.jobs.job import Job
from onebox.services.jobs.rows import job_of, select_short
from onebox.services.tables import JOBS, SERVERS

# Databases take so many values in one statement, and not all that there may be.
CHUNK = 1000


def beat(connection: Connection, owner: str) -> dict[str, int]:
    """Count a server up; the counts of the others."""
    own = SERVERS.c.id == owner
    counted = connection.execute(update(SERVERS).where(own).values(beat=SERVERS.c.beat + 1))
    if not counted.rowcount:
        connection.execute(insert(SERVERS).values(id=owner, beat=1))
    others = select(SERVERS.c.id, SERVERS.c.beat).where(SERVERS.c.id != owner)
    return {row.id: row.beat for row in connection.execute(others)}


def adopt(connection: Connection, owner: str) -> None:
    """Those that were stored before servers had names."""
    connection.execute(update(JOBS).where(JOBS.c.owner.is_(None)).values(owner=owner))


def take(connection: Connection, lost: str, beat: int, owner: str) -> list[Job]:
    """Make the jobs of a server another's, unless it has counted on. Without their `work`.

    The server is forgotten: one that lives after all counts anew.
    """
    gone = (SERVERS.c.id == lost, SERVERS.c.beat == beat)
    if not connection.execute(delete(SERVERS).where(*gone)).rowcount:
        return []
    theirs = select_short().where(JOBS.c.owner == lost, *_for_any_server())
    # Locked, so that it does not begin one meanwhile.
    locked = theirs.order_by(JOBS.c.sequence).with_for_update()
    jobs = [job_of(row) for row in connection.execute(locked)]
    for begin in range(0, len(jobs), CHUNK):
        ids = [job.id for job in jobs[begin : begin + CHUNK]]
        connection.execute(update(JOBS).where(JOBS.c.id.in_(ids)).values(owner=owner))
    return jobs


def not_ours(connection: Connection, owner: str, job_ids: Collection[str]) -> list[str]:
    """Those that were cancelled, deleted, or taken by another server."""
    columns: tuple[Any, ...] = (JOBS.c.id, JOBS.c.owner, JOBS.c.state)
    found = connection.execute(select(*columns).where(JOBS.c.id.in_(job_ids)))
    ours = {row.id for row in found if row.owner == owner and row.state != "cancelled"}
    return [job_id for job_id in job_ids if job_id not in ours]


def _for_any_server() -> tuple[Any, ...]:
    """What needs no file of the server that has it, and no batch of that counts it."""
    unended = JOBS.c.state.in_(("queued", "running"))
    return unended, JOBS.c.group_id.is_(None), JOBS.c.blobs == b"[]"
