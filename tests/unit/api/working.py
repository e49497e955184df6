"""In place of the jobs of a server: what a test puts in, and what it was asked."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from onebox.api.app import create_app
from onebox.bootstrap import Services
from onebox.runtime.wire import Delta, Progress, Started
from onebox.services.access.caller import Caller
from onebox.services.jobs.events import Update
from onebox.services.jobs.ids import new_id
from onebox.services.jobs.job import Job, JobEvent, JobNotFound, StoredArtifact
from onebox.services.jobs.jobs import Submission
from onebox.services.jobs.live import Live
from onebox.services.jobs.query import JobQuery
from onebox.services.request import Options
from onebox.services.running import RunningRequest
from tests.unit.api.asking import USER, Answer, ask

JOBS = "/v1/jobs"
# What is drawn whatever is asked for.
RESOLVED = {"width": 320, "height": 192, "num_frames": 17, "fps": 8, "seed": 7}


def job(**facts: Any) -> Job:
    """One that waits, of the key of USER."""
    given = {
        "id": new_id("job"),
        "caller": "",
        "kind": "task",
        "surface": "job",
        "group": None,
        "position": 0,
        "task": "text-to-image",
        "model": "shapes",
        "model_sha256": "ab" * 32,
        "priority": "job",
        "state": "queued",
        "seq": 1,
        "attempt": 0,
        "lost": 0,
        "fence": None,
        "work": b"",
        "blobs": (),
        "public": {"prompt": "x", "seed": 7},
        "created_at": 1000.0,
        "started_at": None,
        "ended_at": None,
        "expires_at": None,
        "error": None,
        "artifacts": (),
        "webhook_url": None,
        "webhook_events": (),
        "timeout_s": None,
        "size_bytes": 10,
        **facts,
    }
    return Job(**given)


def artifact(
    name: str, media_type: str = "image/png", size: int = 4, **meta: Any
) -> StoredArtifact:
    return StoredArtifact(name, media_type, size, "cd" * 32, meta)


def completed(*artifacts: StoredArtifact, **facts: Any) -> Job:
    ended = {"state": "completed", "attempt": 1, "started_at": 1001.0, "ended_at": 1005.5}
    return job(**ended, expires_at=2000.0, artifacts=artifacts, **facts)


def at_step(step: int, steps: int, *, step_s: float = 2.0, preview: bytes = b"") -> Live:
    """An attempt whose request has come so far, on a clock that stands still since."""
    now = 0.0
    live = Live(clock=lambda: now)
    request = RunningRequest("w", "r", "caller", "t", "m", "k", "job", entered=0.0)
    live.follow(request)
    request.observe(Started("w"))
    for done in range(1, step + 1):
        now += step_s
        request.observe(Progress("w", done, steps))
    if preview:
        request.observe(Delta("w", {"picture": 0, "preview": preview, "media_type": "image/jpeg"}))
    return live


class Working:
    """Knows jobs of everybody; what is submitted waits for ever.

    Args:
        refusal: is raised instead of taking a job.
        updates: of any job, to whoever watches.
    """

    def __init__(
        self,
        *jobs: Job,
        folder: Path | None = None,
        refusal: Exception | None = None,
        updates: Iterable[Update] = (),
        lives: dict[str, Live] | None = None,
    ) -> None:
        self.jobs = {job.id: job for job in jobs}
        self.folder = folder
        self.refusal = refusal
        self.updates = list(updates)
        self.lives = lives or {}
        self.task = ""
        self.input: Any = None
        self.model: str | None = None
        self.options: Options | None = None
        self.submission = Submission()
        self.asked: dict[str, Any] = {}
        self.after: str | None = None

    async def submit_task(
        self,
        task: str,
        request: BaseModel,
        *,
        model: str | None,
        caller: Caller,
        options: Options,
        submission: Submission,
    ) -> Job:
        self.task, self.input, self.model = task, request, model
        self.options, self.submission = options, submission
        if self.refusal:
            raise self.refusal
        if task.endswith("-video"):
            request = request.model_copy(update=RESOLVED)
        made = job(
            id=new_id("video" if submission.surface == "video" else "job"),
            caller=caller.id,
            task=task,
            surface=submission.surface,
            priority=options.priority,
            public=submission.public(request),
        )
        self.jobs[made.id] = made
        return made

    async def get(self, job_id: str, caller: Caller) -> Job:
        found = self.jobs.get(job_id)
        if found is None or (found.caller not in ("", caller.id) and not caller.may("admin")):
            raise JobNotFound(f"there is no job {job_id}", param="id")
        return found

    async def page(self, caller: Caller, wanted: JobQuery) -> tuple[list[Job], bool]:
        self.asked = asdict(wanted)
        return list(self.jobs.values()), True

    async def cancel(self, job_id: str, caller: Caller) -> Job:
        found = await self.get(job_id, caller)
        if not found.has_ended:
            self.jobs[job_id] = replace(found, state="cancelled", ended_at=1002.0)
        return self.jobs[job_id]

    async def delete(self, job_id: str, caller: Caller) -> None:
        await self.get(job_id, caller)
        del self.jobs[job_id]

    def live(self, job_id: str) -> Live | None:
        return self.lives.get(job_id)

    async def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Update]:
        self.after = after
        for update in self.updates:
            yield update
            await asyncio.sleep(0)

    def artifact_path(self, job: Job, artifact: StoredArtifact) -> Path:
        assert self.folder is not None
        return self.folder / artifact.name


def change(seq: int, kind: Any, **facts: Any) -> Update:
    return Update(f"{seq}-0", kind, JobEvent(seq, kind, 1000.0 + seq, 1, **facts))


class _Relay:
    """To the jobs of the moment: an app is made once for many requests, for that takes a while."""

    working: Working

    def __getattr__(self, name: str) -> Any:
        return getattr(self.working, name)


_apps: dict[int, tuple[Services, FastAPI, _Relay]] = {}


def app_with_jobs(services: Services, working: Working) -> FastAPI:
    if id(services) not in _apps:
        relay = _Relay()
        app = create_app(dataclasses.replace(services, jobs=relay))
        _apps[id(services)] = services, app, relay
    _, app, relay = _apps[id(services)]
    relay.working = working
    return app


def send(
    services: Services,
    working: Working,
    method: str,
    target: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """`body`: bytes, or what becomes JSON."""
    app = app_with_jobs(services, working)
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    return ask(app, method, target, {**USER, **(headers or {})}, raw)


def told(answer: Answer) -> dict[str, Any]:
    """The JSON of an answer that is no error."""
    assert answer.status in (200, 202), answer.body
    return json.loads(answer.body)
