"""What a batch answers: files with a line for each of its requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from onebox.services.deferred_requests import UNKNOWN_STATUS
from onebox.services.jobs.job import Job, StoredArtifact

JSON = "application/json"
# How an error looks when it is answered: status and body. Of its code, message, param and status,
# and the id of the request.
ErrorAnswer = Callable[[dict[str, Any], str], tuple[int, Any]]
UNFINISHED = {
    "expired": (
        "batch_expired",
        "This request could not be executed before the completion window expired.",
    ),
}
CANCELLED = ("batch_cancelled", "This request was not executed: it was cancelled.")


class OutputWriter:
    """Writes the answers of requests to one file, and what went wrong to another. Blocking.

    Args:
        reason: what the batch ended in; "expired" is told of the requests that did not end.
    """

    def __init__(
        self,
        output: BinaryIO,
        errors: BinaryIO,
        *,
        path_of: Callable[[Job, StoredArtifact], Path],
        error_answer: ErrorAnswer,
        reason: str,
    ) -> None:
        self._output = output
        self._errors = errors
        self._path_of = path_of
        self._error_answer = error_answer
        self._reason = reason

    def write(self, jobs: list[Job]) -> None:
        for job in jobs:
            if job.state == "completed":
                self._put(self._output, job, response=self._response(job))
            elif job.state == "failed":
                self._put(self._errors, job, **self._failure(job))
            else:
                code, message = UNFINISHED.get(self._reason, CANCELLED)
                self._put(self._errors, job, error={"code": code, "message": message})

    def _put(self, file: BinaryIO, job: Job, *, response: Any = None, error: Any = None) -> None:
        line = {
            "id": f"batch_req_{job.id.rpartition('_')[2]}",
            "custom_id": job.public.get("custom_id"),
            "response": response,
            "error": error,
        }
        file.write(msgspec.json.encode(line) + b"\n")

    def _response(self, job: Job) -> dict[str, Any]:
        (artifact,) = job.artifacts
        data = self._path_of(job, artifact).read_bytes()
        if artifact.media_type.split(";")[0] == JSON:
            # On one line, whatever the route makes of it.
            body: Any = msgspec.Raw(data.replace(b"\n", b" ").replace(b"\r", b" "))
        else:
            body = data.decode("utf-8", "replace")
        return {"status_code": artifact.meta["status"], "request_id": job.id, "body": body}

    def _failure(self, job: Job) -> dict[str, Any]:
        told = job.public.get("refused") or {**(job.error or {}), "status": UNKNOWN_STATUS}
        if told["status"] is None:
            error = {name: told[name] for name in ("code", "message", "param")}
            return {"error": {**error, "line": job.position}}
        status, body = self._error_answer(told, job.id)
        return {"response": {"status_code": status, "request_id": job.id, "body": body}}
