"""`Job`: one piece of work that outlives its connection, as its row holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from onebox.core.contracts import Priority
from onebox.core.errors import RequestIdTaken, RequestNotFound

State = Literal["queued", "running", "completed", "failed", "cancelled"]
Kind = Literal["task", "request"]
Surface = Literal["job", "video", "batch"]
Transition = Literal["queued", "started", "retried", "completed", "failed", "cancelled"]

ENDED: tuple[State, ...] = ("completed", "failed", "cancelled")
# What the ids of a surface begin with; a line of a batch is a job like any other.
PREFIXES: dict[Surface, str] = {"job": "job", "video": "video", "batch": "job"}
# So many attempts may be lost; a job that ends its worker each time must not do so for ever.
MAX_ATTEMPTS = 3


class JobNotFound(RequestNotFound):
    code = "job_not_found"

    @classmethod
    def of(cls, job_id: str) -> JobNotFound:
        """The same for one that is another's: nothing tells that there is one."""
        return cls(f"there is no job {job_id[:64]}", param="id")


class IdempotencyConflict(RequestIdTaken):
    """The caller has sent something else under this key."""

    code = "idempotency_conflict"


@dataclass(frozen=True, slots=True)
class StoredArtifact:
    """One result of a job. `name` is that of its file in the job's folder."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    meta: dict[str, Any]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One change of a job's state. `seq` counts those of the job from 1."""

    seq: int
    type: Transition
    at: float
    attempt: int
    error: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a job is made of.

    Attributes:
        kind: what carries it out: a task's input, or a whole request that is sent again.
        surface: which routes show it.
        group: the batch that it is a line of; `position` is its number in there.
        model: the name of the checkpoint.
        work: what its executor needs, in the executor's own form.
        blobs: its binary parts, by names of small letters, digits, `_`, `-` and `.`.
        public: what its surface shows of it (prompt, size, …); small.
        timeout_s: how long an attempt may take; None for the server's bound.
        idempotency_key: as the client gave it; jobs of one caller share one key space.
        fingerprint: of the whole request: the same key with another one is a conflict.
    """

    caller: str
    kind: Kind
    task: str
    model: str
    work: bytes
    surface: Surface = "job"
    group: str | None = None
    position: int = 0
    model_sha256: str | None = None
    priority: Priority = "job"
    public: dict[str, Any] = field(default_factory=dict)
    webhook_url: str | None = None
    webhook_events: tuple[str, ...] = ()
    timeout_s: float | None = None
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    idempotency_key: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One that is stored; see `NewJob`. Times are seconds since 1970.

    Attributes:
        work: empty in pages.
        blobs: names of its binary parts.
        state: it moves from queued to running, and to one of the three ends; or back to queued.
        seq: how many changes of state it has seen.
        attempt: how often it was begun, without the times when nothing was wrong with it.
        lost: how many of these attempts did not come to an end.
        fence: of the attempt that runs, or that completed it; later writes of others are refused.
        started_at: of the newest attempt.
        expires_at: when it and its files are deleted; None before its end, or for never.
        error: {"code", "message", "param"} of one that failed.
        owner: the server that carries it out and has its files; None where there is only one.
    """

    id: str
    caller: str
    kind: Kind
    surface: Surface
    group: str | None
    position: int
    task: str
    model: str
    model_sha256: str | None
    priority: Priority
    state: State
    seq: int
    attempt: int
    lost: int
    fence: str | None
    work: bytes
    blobs: tuple[str, ...]
    public: dict[str, Any]
    created_at: float
    started_at: float | None
    ended_at: float | None
    expires_at: float | None
    error: dict[str, Any] | None
    artifacts: tuple[StoredArtifact, ...]
    webhook_url: str | None
    webhook_events: tuple[str, ...]
    timeout_s: float | None
    size_bytes: int
    owner: str | None = None

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


@dataclass(frozen=True, slots=True)
class QueuedJob:
    """What the queue knows of a job."""

    id: str
    caller: str
    priority: Priority
    lost: int
