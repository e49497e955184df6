"""A job as clients see it, the same on every route that tells of one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from onebox.api.bodies import JSON
from onebox.bootstrap import Services
from onebox.core.contracts import Priority
from onebox.services.jobs.job import Job, State, StoredArtifact, Surface
from onebox.services.jobs.live import Live, Phase

PATH = "/v1/jobs"
MOST_RUNNING = 99


class JobError(BaseModel):
    code: str
    message: str
    param: str | None = Field(description="The field of the input that is at fault.")


class JobPreview(BaseModel):
    media_type: str
    url: str
    number: int = Field(description="How many there were in this attempt.")


class JobArtifact(BaseModel):
    """What its task told of it (seed, width, …) stands beside these."""

    model_config = ConfigDict(extra="allow")

    index: int
    media_type: str
    size_bytes: int
    sha256: str
    url: str


class JobResult(BaseModel):
    artifacts: list[JobArtifact]


class JobProgress(BaseModel):
    """What a running attempt does now; after a restart of the server it begins anew."""

    progress: int = Field(description="Percent.")
    phase: Phase | None = Field(
        description="Of one that runs: it is about to be sent to a worker, waits there, waits for "
        "weights, or is computed."
    )
    step: int | None
    steps: int | None = Field(description="null as long as it is not known.")
    eta_s: float | None = Field(
        description="Seconds that the steps that are left will take, by those that were measured."
    )
    loading: float | None = Field(description="The part of the weights that is in memory, 0 to 1.")
    preview: JobPreview | None


class JobAnswer(JobProgress):
    """Times are seconds since 1970; links are paths of this server."""

    id: str
    object: str = "job"
    surface: Surface
    task: str
    model: str
    model_sha256: str | None
    status: State
    attempt: int = Field(description="How often it was begun.")
    priority: Priority
    timeout_s: float | None = Field(description="Of an attempt; null for the server's limit.")
    request: dict[str, Any] = Field(description="What was asked, in short.")
    created_at: float
    started_at: float | None = Field(description="Of the newest attempt.")
    completed_at: float | None = Field(description="When it ended, however it did.")
    expires_at: float | None = Field(description="When it is deleted, with its files.")
    error: JobError | None
    webhook_url: str | None
    webhook_events: list[str]
    result: JobResult | None
    links: dict[str, str]


def job_response(
    services: Services,
    job: Job,
    *,
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """A job as the answer to a request; 202 tells where it can be found."""
    told = dict(headers or {})
    if status_code == 202:
        told["Location"] = f"{PATH}/{job.id}"
    body = msgspec.json.encode(job_answer(job, services.jobs.live(job.id)))
    return Response(body, status_code, told, JSON)


def job_answer(job: Job, live: Live | None) -> dict[str, Any]:
    """The public JSON of a job (see JobAnswer).

    `live` is what its attempt does now, if one runs.
    """
    return {
        "id": job.id,
        "object": "job",
        "surface": job.surface,
        "task": job.task,
        "model": job.model,
        "model_sha256": job.model_sha256,
        "status": job.state,
        **progress_answer(job.id, live if job.state == "running" else None),
        "progress": progress_of(job, live),
        "attempt": job.attempt,
        "priority": job.priority,
        "timeout_s": job.timeout_s,
        "request": job.public,
        "created_at": _moment(job.created_at),
        "started_at": _moment(job.started_at),
        "completed_at": _moment(job.ended_at),
        "expires_at": _moment(job.expires_at),
        "error": job.error,
        "webhook_url": job.webhook_url,
        "webhook_events": list(job.webhook_events),
        "result": _result(job),
        "links": _links(job),
    }


def progress_answer(job_id: str, live: Live | None) -> dict[str, Any]:
    """The part of it that changes while an attempt runs (see JobProgress); None: none does."""
    if live is None:
        return {**dict.fromkeys(JobProgress.model_fields), "progress": 0}
    return {
        "progress": _percent(live),
        "phase": live.phase,
        "step": live.step,
        "steps": live.steps or None,
        "eta_s": None if live.eta_s is None else round(live.eta_s, 1),
        "loading": live.loading,
        "preview": _preview(job_id, live),
    }


def progress_of(job: Job, live: Live | None) -> int:
    """Percent; 100 is a result that can be had."""
    if job.state == "completed":
        return 100
    return _percent(live) if job.state == "running" and live is not None else 0


def artifact_answer(job: Job, index: int, artifact: StoredArtifact) -> dict[str, Any]:
    return {
        **artifact.meta,
        "index": index,
        "media_type": artifact.media_type,
        "size_bytes": artifact.size_bytes,
        "sha256": artifact.sha256,
        "url": f"{PATH}/{job.id}/result/{index}",
    }


def _percent(live: Live) -> int:
    # Until its result is stored it is not done.
    return min(int(live.fraction * 100), MOST_RUNNING)


def _result(job: Job) -> dict[str, Any] | None:
    if job.state != "completed":
        return None
    return {"artifacts": [artifact_answer(job, *numbered) for numbered in enumerate(job.artifacts)]}


def _preview(job_id: str, live: Live) -> dict[str, Any] | None:
    shown = live.preview
    if shown is None:
        return None
    url = f"{PATH}/{job_id}/preview"
    return {"media_type": shown.media_type, "url": url, "number": shown.number}


def _links(job: Job) -> dict[str, str]:
    """Where it can be had, followed, and ended."""
    own = f"{PATH}/{job.id}"
    links = {"self": own, "events": f"{own}/events"}
    if job.state == "completed":
        links["result"] = f"{own}/result"
    if job.webhook_url is not None:
        links["webhooks"] = f"{own}/webhooks"
    if not job.has_ended:
        links["cancel"] = f"{own}/cancel"
    return links


def _moment(at: float | None) -> float | None:
    return None if at is None else round(at, 3)
