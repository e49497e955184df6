"""A video as OpenAI's clients see it: a job under another form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from onebox.api.job_options import shown_input
from onebox.api.native.job_answer import JobError, progress_of
from onebox.api.openai.video_fields import route_name
from onebox.core.errors import FileNotFound
from onebox.services.jobs.job import Job, State
from onebox.services.jobs.live import Live

Status = Literal["queued", "in_progress", "completed", "failed"]
Variant = Literal["video", "thumbnail", "spritesheet"]

STATUSES: dict[State, Status] = {
    "queued": "queued",
    "running": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "cancelled": "failed",
}
CANCELLED = {"code": "cancelled", "message": "the video was cancelled", "param": None}
# A client that polls asks again after a tenth of the time that is left, within these bounds. It
# keeps to the first answer, so that is no long one.
POLL_MS, LEAST_POLL_MS, MOST_POLL_MS = 1000, 250, 5000


class VideoAnswer(BaseModel):
    """Beside OpenAI's fields it has the seed, and what was drawn."""

    model_config = ConfigDict(extra="allow")

    id: str
    object: Literal["video"]
    model: str
    status: Status
    progress: int = Field(description="Percent.")
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    seconds: str
    size: str
    remixed_from_video_id: str | None
    error: JobError | None
    seed: int | None
    num_frames: int | None
    fps: int | None
    eta_s: float | None = Field(description="Seconds until it is drawn, as measured.")


def public_video(remixed_from: str | None) -> Callable[[Any], dict[str, Any]]:
    """Makes what is told of a video of the complete input for it."""

    def public(asked: Any) -> dict[str, Any]:
        return {
            **shown_input(asked),
            "prompt": asked.prompt,
            "seconds": f"{asked.num_frames / asked.fps:.4g}",
            "size": f"{asked.width}x{asked.height}",
            "remixed_from_video_id": remixed_from,
        }

    return public


def video_answer(job: Job, live: Live | None) -> dict[str, Any]:
    """See VideoAnswer. `live` is what its attempt does now, if one runs."""
    shown = job.public
    running = live if job.state == "running" else None
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": STATUSES[job.state],
        "progress": progress_of(job, live),
        "created_at": int(job.created_at),
        "completed_at": int(job.ended_at) if job.ended_at and job.state == "completed" else None,
        "expires_at": int(job.expires_at) if job.expires_at else None,
        "prompt": shown.get("prompt"),
        "seconds": shown["seconds"],
        "size": shown["size"],
        "remixed_from_video_id": shown.get("remixed_from_video_id"),
        "error": _error(job),
        "seed": shown.get("seed"),
        "num_frames": shown.get("num_frames"),
        "fps": shown.get("fps"),
        "eta_s": running.eta_s if running else None,
    }


def _error(job: Job) -> dict[str, Any] | None:
    if job.state == "cancelled":
        return CANCELLED
    return job.error and {**job.error, "param": route_name(job.error["param"])}


def poll_after_ms(live: Live | None) -> int:
    """When to ask again."""
    eta_s = live.eta_s if live else None
    if eta_s is None:
        return POLL_MS
    return int(min(max(eta_s * 100, LEAST_POLL_MS), MOST_POLL_MS))


def index_of(job: Job, variant: Variant) -> int:
    """Which of the results of a completed job it is. Raises FileNotFound."""
    for index, artifact in enumerate(job.artifacts):
        if artifact.meta.get("variant") == variant:
            return index
    raise FileNotFound(
        f"the video was made without a {variant}; ask for one with {variant}=true when it is made",
        param="variant",
    )
