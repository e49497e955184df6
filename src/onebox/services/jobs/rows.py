"""Jobs as rows: what the threads of the database do for `JobStore`."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.engine import Row

from onebox.core.units import DAY_S
from onebox.services.jobs.ids import new_id, sequence_of
from onebox.services.jobs.job import (
    PREFIXES,
    Job,
    JobEvent,
    NewJob,
    QueuedJob,
    State,
    StoredArtifact,
    Transition,
)
from onebox.services.tables import JOB_EVENTS, JOBS

_ARTIFACTS = msgspec.json.Decoder(tuple[StoredArtifact, ...])
_TEXTS = msgspec.json.Decoder(tuple[str, ...])
_encode = msgspec.json.encode
_decode = msgspec.json.decode
# Fields of a job that are JSON in its row.
JSON_FIELDS = frozenset({"webhook_events", "error", "blobs", "artifacts", "public"})
# Fields of a job whose columns have other names, where SQL has a word of its own.
COLUMNS = {"group": "group_id"}
NOT_IN_JOB = ("sequence", "idempotency", "fingerprint")
Hook = Callable[[Connection, Job], None]


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of a job: the event, when it was, and the fields that are new."""

    type: Transition
    at: float
    fields: dict[str, Any]


# Of the job as it is stored; None for no change.
Decision = Callable[[Job], Change | None]


class Changed(NamedTuple):
    """A job before and after a change; twice the same when none was made."""

    before: Job
    after: Job

    @property
    def was_made(self) -> bool:
        return self.before is not self.after


@dataclass(frozen=True, slots=True)
class Draft:
    """A job that is about to be stored.

    Attributes:
        idempotency: a digest of the client's key: of one length, and of harmless characters.
    """

    job: Job
    new: NewJob
    idempotency: str | None


def draft(new: NewJob, now: float, place: int, owner: str | None = None) -> Draft:
    """One of a list, at a place in it, for a server of that name."""
    public, blobs = _encode(new.public), sum(len(data) for data in new.blobs.values())
    job = Job(
        id=new_id(PREFIXES[new.surface], place=place),
        caller=new.caller,
        kind=new.kind,
        surface=new.surface,
        group=new.group,
        position=new.position,
        task=new.task,
        model=new.model,
        model_sha256=new.model_sha256,
        priority=new.priority,
        state="queued",
        seq=1,
        attempt=0,
        lost=0,
        fence=None,
        work=new.work,
        blobs=tuple(new.blobs),
        public=new.public,
        created_at=now,
        started_at=None,
        ended_at=None,
        expires_at=None,
        error=None,
        artifacts=(),
        webhook_url=new.webhook_url,
        webhook_events=new.webhook_events,
        timeout_s=new.timeout_s,
        size_bytes=len(new.work) + len(public) + blobs,
        owner=owner,
    )
    return Draft(job, new, digest_of(new))


def digest_of(new: NewJob) -> str | None:
    key = new.idempotency_key
    return None if key is None else hashlib.sha256(key.encode()).hexdigest()


def add(connection: Connection, drafts: Sequence[Draft], hooks: Sequence[Hook]) -> None:
    if not drafts:
        return
    connection.execute(insert(JOBS), [_row_of(each) for each in drafts])
    for each in drafts:
        for hook in hooks:
            hook(connection, each.job)


def find_earlier(
    connection: Connection, caller: str, idempotency: str
) -> tuple[Job, str | None] | None:
    """What the caller sent under the key of this digest, with its fingerprint."""
    own = (JOBS.c.caller == caller, JOBS.c.idempotency == idempotency)
    row = connection.execute(select(JOBS).where(*own)).first()
    return None if row is None else (job_of(row), row.fingerprint)


def load(connection: Connection, job_id: str) -> Job | None:
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).first()
    return None if row is None else job_of(row)


def load_all(connection: Connection, job_ids: Sequence[str]) -> list[Job]:
    """Those that exist, without their `work`."""
    found = connection.execute(select_short().where(JOBS.c.id.in_(job_ids)))
    return [job_of(row) for row in found]


def locked(connection: Connection, job_id: str) -> Job | None:
    """Nobody else changes it until the end of the transaction."""
    row = connection.execute(select(JOBS).where(JOBS.c.id == job_id).with_for_update()).first()
    return None if row is None else job_of(row)


def change(
    connection: Connection, job_id: str, decide: Decision, hooks: Sequence[Hook]
) -> Changed | None:
    """Do what is decided on; None when there is no such job."""
    before = locked(connection, job_id)
    if before is None:
        return None
    decided = decide(before)
    if decided is None:
        return Changed(before, before)
    after = dataclasses.replace(before, seq=before.seq + 1, **decided.fields)
    values = {_column(name): _value_of(after, name) for name in ("seq", *decided.fields)}
    connection.execute(update(JOBS).where(JOBS.c.id == job_id).values(values))
    connection.execute(insert(JOB_EVENTS), _event_row(after, decided.type, decided.at))
    for hook in hooks:
        hook(connection, after)
    return Changed(before, after)


def remove(connection: Connection, jobs: Sequence[Job]) -> None:
    connection.execute(delete(JOBS).where(JOBS.c.id.in_([job.id for job in jobs])))


def expired(connection: Connection, now: float, most: int, owner: str | None = None) -> list[Job]:
    """Without their `work`; of servers that are gone too, a day later."""
    wanted = [JOBS.c.expires_at < now]
    if owner is not None:
        wanted.append(or_(JOBS.c.owner == owner, JOBS.c.expires_at < now - DAY_S))
    past = select_short().where(*wanted).order_by(JOBS.c.expires_at).limit(most)
    return [job_of(row) for row in connection.execute(past)]


def events(connection: Connection, job_id: str, after: int) -> list[JobEvent]:
    """The first is told by the job's own row."""
    found: list[JobEvent] = []
    if after < 1:
        born = select(JOBS.c.created_at).where(JOBS.c.id == job_id)
        found += [JobEvent(1, "queued", row[0], 0) for row in connection.execute(born)]
    later = (JOB_EVENTS.c.job_id == job_id, JOB_EVENTS.c.seq > after)
    rows = connection.execute(select(JOB_EVENTS).where(*later).order_by(JOB_EVENTS.c.seq))
    return found + [
        JobEvent(row.seq, row.type, row.at, row.attempt, _decode(row.error) if row.error else None)
        for row in rows
    ]


def counts(connection: Connection, group: str | None) -> dict[State, int]:
    counted = select(JOBS.c.state, func.count()).group_by(JOBS.c.state)
    if group is not None:
        counted = counted.where(JOBS.c.group_id == group)
    return {row[0]: row[1] for row in connection.execute(counted)}


def totals(connection: Connection, owner: str | None = None) -> tuple[int, int]:
    """How many wait, and how many bytes all take: of the only server by an index from end to end,
    of one of several by the whole table.
    """
    counted = select(JOBS.c.state, func.count(), func.sum(JOBS.c.size_bytes))
    found = connection.execute(counted.where(*_of(owner)).group_by(JOBS.c.state)).all()
    queued = sum(row[1] for row in found if row[0] == "queued")
    return queued, sum(int(row[2]) for row in found)


def queued(connection: Connection, owner: str | None = None) -> list[QueuedJob]:
    """The oldest first."""
    columns = (JOBS.c.id, JOBS.c.caller, JOBS.c.priority, JOBS.c.lost)
    waiting = select(*columns).where(JOBS.c.state == "queued", *_of(owner))
    return [QueuedJob(*row) for row in connection.execute(waiting.order_by(JOBS.c.sequence))]


def running(connection: Connection, owner: str | None = None) -> list[Job]:
    """Without their `work`."""
    found = connection.execute(select_short().where(JOBS.c.state == "running", *_of(owner)))
    return [job_of(row) for row in found]


def select_short() -> Any:
    return select(*(column for column in JOBS.c if column.name != "work"))


def _of(owner: str | None) -> list[Any]:
    """Jobs of one server, or of the only one."""
    return [] if owner is None else [JOBS.c.owner == owner]


def _row_of(each: Draft) -> dict[str, Any]:
    row = {_column(name): _value_of(each.job, name) for name in Job.__slots__}
    row["sequence"] = sequence_of(each.job.id)
    row["idempotency"], row["fingerprint"] = each.idempotency, each.new.fingerprint
    return row


def _column(field: str) -> str:
    return COLUMNS.get(field, field)


def _value_of(job: Job, name: str) -> Any:
    value = getattr(job, name)
    return _encode(value) if name in JSON_FIELDS and value is not None else value


def _event_row(job: Job, kind: Transition, at: float) -> dict[str, Any]:
    error = None if job.error is None else _encode(job.error)
    return {
        "job_id": job.id,
        "seq": job.seq,
        "type": kind,
        "at": at,
        "attempt": job.attempt,
        "error": error,
    }


def job_of(row: Row[Any]) -> Job:
    values = row._asdict()
    for name in NOT_IN_JOB:
        del values[name]
    values["group"] = values.pop("group_id")
    values.setdefault("work", b"")
    values["error"] = None if row.error is None else _decode(row.error)
    values["public"] = _decode(row.public)
    values["artifacts"] = _ARTIFACTS.decode(row.artifacts)
    values["blobs"] = _TEXTS.decode(row.blobs)
    values["webhook_events"] = _TEXTS.decode(row.webhook_events)
    return Job(**values)
