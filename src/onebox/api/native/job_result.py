"""A job's result as a file, with its type and name."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fastapi import Request, Response

from onebox.api.native.job_answer import PATH
from onebox.api.ranged_file import RangedFile
from onebox.core.errors import FileNotFound, ResultNotReady
from onebox.services.files import EXTENSIONS
from onebox.services.jobs.job import Job

OTHER_EXTENSIONS = {"application/json": "json", "text/plain": "txt"}


def require_result(job: Job, index: int) -> None:
    """Raises ResultNotReady, and FileNotFound for a number that is not there."""
    if job.state != "completed":
        raise ResultNotReady(_why_not(job), details={"status": job.state})
    if index >= len(job.artifacts):
        count = len(job.artifacts)
        message = f"there is no result {index}: the job has {count}, counted from 0"
        raise FileNotFound(message, param="index", details={"count": count})


async def file_answer(request: Request, job: Job, index: int, path: Path) -> Response:
    """One of the results of a job that is completed. Raises FileNotFound when it is gone."""
    artifact = job.artifacts[index]
    try:
        status = await asyncio.to_thread(path.stat)
    except FileNotFoundError:
        raise FileNotFound(
            "the result is not here: it was deleted, or lies on the server that did the job"
        ) from None
    etag = f'"{artifact.sha256}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "private, max-age=3600",
        "X-Content-Type-Options": "nosniff",
    }
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return RangedFile(
        path,
        headers=headers,
        media_type=artifact.media_type,
        filename=_name(job, index),
        stat_result=status,
    )


def _name(job: Job, index: int) -> str:
    media_type = job.artifacts[index].media_type
    known = EXTENSIONS | OTHER_EXTENSIONS
    number = f"-{index}" if index else ""
    return f"{job.id}{number}.{known.get(media_type, 'bin')}"


def _why_not(job: Job) -> str:
    match job.state:
        case "failed":
            told = job.error["message"] if job.error else "no reason is known"
            return f"the job has failed: {told}"
        case "cancelled":
            return "the job was cancelled"
        case state:
            return f"the job is {state}; ask again, or follow {PATH}/{job.id}/events"
