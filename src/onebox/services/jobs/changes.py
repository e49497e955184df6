"""What becomes of a job: each function decides, of the job as it is stored, what it is next."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from onebox.services.jobs.job import MAX_ATTEMPTS, Job, StoredArtifact
from onebox.services.jobs.rows import Change, Decision

End = Literal["completed", "failed", "cancelled"]
WORKER_LOST = {
    "code": "worker_lost",
    "message": f"what ran this job ended {MAX_ATTEMPTS} times before the job did, so it is not "
    "tried again; the server's log says how",
    "param": None,
}


def claimed(now: float, owner: str | None = None) -> Decision:
    """By a server of that name, or by the only one."""

    def decide(job: Job) -> Change | None:
        if job.state != "queued" or (owner is not None and job.owner != owner):
            return None
        begun = {"state": "running", "started_at": now}
        mark = {"attempt": job.attempt + 1, "fence": secrets.token_hex(16)}
        return Change("started", now, {**begun, **mark})

    return decide


def completed(
    attempt: Job, artifacts: Sequence[StoredArtifact], now: float, ttl_s: float
) -> Decision:
    def decide(job: Job) -> Change | None:
        if not _runs(job, attempt):
            return None
        size = job.size_bytes + sum(artifact.size_bytes for artifact in artifacts)
        changes = {"artifacts": tuple(artifacts), "size_bytes": size}
        return _ended("completed", now, ttl_s, changes)

    return decide


def failed(attempt: Job, error: Mapping[str, Any], now: float, ttl_s: float) -> Decision:
    def decide(job: Job) -> Change | None:
        if not _runs(job, attempt):
            return None
        return _ended("failed", now, ttl_s, {"error": dict(error)})

    return decide


def given_back(attempt: Job, now: float) -> Decision:
    """As if the attempt had never begun."""

    def decide(job: Job) -> Change | None:
        return _waits(now, {"attempt": job.attempt - 1}) if _runs(job, attempt) else None

    return decide


def lost(attempt: Job, error: Mapping[str, Any] | None, now: float, ttl_s: float) -> Decision:
    """It failed with an error, WORKER_LOST by default, if it was the last attempt."""

    def decide(job: Job) -> Change | None:
        if not _runs(job, attempt):
            return None
        if job.lost + 1 < MAX_ATTEMPTS:
            return _waits(now, {"lost": job.lost + 1})
        last = {"lost": job.lost + 1, "error": dict(error or WORKER_LOST)}
        return _ended("failed", now, ttl_s, last)

    return decide


def cancelled(now: float, ttl_s: float) -> Decision:
    def decide(job: Job) -> Change | None:
        if job.has_ended:
            return None
        return _ended("cancelled", now, ttl_s, {})

    return decide


def _runs(job: Job, attempt: Job) -> bool:
    """Whether the attempt is still the job's: no other has begun, and nobody has ended it."""
    return job.state == "running" and job.fence == attempt.fence


def _waits(now: float, changes: dict[str, Any]) -> Change:
    return Change("retried", now, {"state": "queued", "fence": None, "started_at": None, **changes})


def _ended(state: End, now: float, ttl_s: float, changes: dict[str, Any]) -> Change:
    expires_at = now + ttl_s if ttl_s else None
    end = {"state": state, "ended_at": now, "expires_at": expires_at}
    return Change(state, now, {**end, **changes})
