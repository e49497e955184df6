"""Events that are to be sent, as rows: written in the transaction that makes them true."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from sqlalchemy import Connection, delete, func, insert, select, update

from onebox.core.errors import InvalidInput
from onebox.services.jobs.ids import new_id
from onebox.services.jobs.job import Job, Surface
from onebox.services.tables import WEBHOOK_DELIVERIES

PREFIX = "evt"
PENDING = "pending"

DeliveryState = Literal["pending", "delivered", "given_up"]
JOB_EVENTS = ("job.queued", "job.started", "job.completed", "job.failed", "job.cancelled")
VIDEO_EVENTS = ("video.completed", "video.failed")
# What is told of a job whose submission names no events: how it ended.
ENDS = ("job.completed", "job.failed", "job.cancelled", *VIDEO_EVENTS)

_deliveries = WEBHOOK_DELIVERIES.c


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one URL. Times are seconds since 1970.

    Attributes:
        host: with its port; what is sent to it goes one after the other.
        next_at: when it is tried again; None once it has been delivered or given up.
        last_status: what the last attempt was answered; or `last_error`, when it was not.
    """

    id: str
    url: str
    host: str
    event_type: str
    subject_id: str
    body: bytes
    state: DeliveryState
    attempts: int
    next_at: float | None
    created_at: float
    last_status: int | None
    last_error: str | None


def check_events(given: Collection[str], surface: Surface) -> None:
    """Raises InvalidInput for an event that no job of that surface has."""
    known = VIDEO_EVENTS if surface == "video" else JOB_EVENTS
    for name in given:
        if name not in known:
            raise InvalidInput(
                f"there is no event {name[:64]}; there are {', '.join(known)}",
                param="webhook_events",
            )


def add(
    connection: Connection,
    *,
    url: str,
    event_type: str,
    data: Mapping[str, Any],
    subject_id: str,
    at: float,
) -> None:
    """Have an event sent to a URL, as soon as the transaction is done.

    Args:
        data: what the event says; its `id` is what it is about.
        subject_id: the same id, for those who ask what became of its events.
    """
    event_id = new_id(PREFIX)
    event = {
        "id": event_id,
        "object": "event",
        "type": event_type,
        "created_at": int(at),
        "data": data,
    }
    add_body(
        connection,
        url=url,
        event_type=event_type,
        body=msgspec.json.encode(event),
        subject_id=subject_id,
        at=at,
        event_id=event_id,
    )


def add_body(
    connection: Connection,
    *,
    url: str,
    event_type: str,
    body: bytes,
    subject_id: str,
    at: float,
    event_id: str | None = None,
) -> None:
    """The same for JSON that is sent as it is, with nothing around it."""
    connection.execute(
        insert(WEBHOOK_DELIVERIES).values(
            id=event_id or new_id(PREFIX),
            url=url,
            host=urlsplit(url).netloc.lower(),
            event_type=event_type,
            subject_id=subject_id,
            body=body,
            state=PENDING,
            attempts=0,
            next_at=at,
            created_at=at,
        )
    )


def add_job_event(connection: Connection, job: Job) -> bool:
    """Tell of a job's new state whoever wants to know of it; whether there was somebody."""
    event_type = _event_of(job)
    if job.webhook_url is None or event_type not in (job.webhook_events or ENDS):
        return False
    # One that was given back begins anew, which is no news.
    if event_type == "job.started" and _is_told(connection, job.id, event_type):
        return False
    add(
        connection,
        url=job.webhook_url,
        event_type=event_type,
        data={"id": job.id} if job.surface == "video" else _data(job),
        subject_id=job.id,
        # The newest of its times is that of its state.
        at=job.ended_at or job.started_at or job.created_at,
    )
    return True


def of_subject(connection: Connection, subject_id: str) -> list[Delivery]:
    """All events about it, oldest first."""
    query = (
        select(WEBHOOK_DELIVERIES)
        .where(_deliveries.subject_id == subject_id)
        .order_by(_deliveries.id)
    )
    return [_delivery(row) for row in connection.execute(query).mappings()]


def due_hosts(connection: Connection, now: float, busy: Collection[str]) -> list[str]:
    """Hosts, other than those, for which something waits that is due."""
    query = (
        select(_deliveries.host)
        .where(_deliveries.state == PENDING, _deliveries.next_at <= now)
        .where(_deliveries.host.not_in(busy))
        .distinct()
    )
    return list(connection.scalars(query))


def next_at(connection: Connection, busy: Collection[str]) -> float | None:
    """When the first is due of what waits for hosts other than those."""
    query = select(func.min(_deliveries.next_at)).where(
        _deliveries.state == PENDING, _deliveries.host.not_in(busy)
    )
    found: float | None = connection.scalar(query)
    return found


def first_due(connection: Connection, host: str, now: float) -> Delivery | None:
    query = (
        select(WEBHOOK_DELIVERIES)
        .where(_deliveries.state == PENDING, _deliveries.host == host, _deliveries.next_at <= now)
        .order_by(_deliveries.next_at, _deliveries.id)
        .limit(1)
    )
    row = connection.execute(query).mappings().one_or_none()
    return None if row is None else _delivery(row)


def settle(connection: Connection, delivery_id: str, changes: Mapping[str, Any]) -> None:
    """Write down what came of an attempt."""
    changed = update(WEBHOOK_DELIVERIES).where(_deliveries.id == delivery_id)
    connection.execute(changed.values(**changes))


def postpone(connection: Connection, host: str, until: float) -> None:
    """Leave a host alone for a while."""
    connection.execute(
        update(WEBHOOK_DELIVERIES)
        .where(_deliveries.state == PENDING, _deliveries.host == host, _deliveries.next_at < until)
        .values(next_at=until)
    )


def forget(connection: Connection, before: float) -> None:
    """Delete those that ended before then."""
    connection.execute(delete(WEBHOOK_DELIVERIES).where(_deliveries.ended_at < before))


def _event_of(job: Job) -> str | None:
    """None when it waits again."""
    if job.state == "queued" and job.seq > 1:
        return None
    kind = "video" if job.surface == "video" else "job"
    return f"{kind}.{'started' if job.state == 'running' else job.state}"


def _data(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "job",
        "task": job.task,
        "model": job.model,
        "status": job.state,
        "error": job.error,
    }


def _is_told(connection: Connection, subject_id: str, event_type: str) -> bool:
    query = select(_deliveries.id).where(
        _deliveries.subject_id == subject_id, _deliveries.event_type == event_type
    )
    return connection.execute(query.limit(1)).first() is not None


def _delivery(row: Any) -> Delivery:
    return Delivery(**{name: row[name] for name in Delivery.__dataclass_fields__})
