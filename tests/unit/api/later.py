"""A server whose requests reach a worker that a test plays, and whose jobs run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import httpx2
from fastapi import FastAPI

from onebox.api.app import create_app
from onebox.api.openai.batches import error_answer
from onebox.bootstrap import Services
from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.errors import ModelNotAllowed, ModelNotFound
from onebox.services.batches.batches import Batches
from onebox.services.companions import Companions
from onebox.services.database import Database, sqlite_url
from onebox.services.deferred_requests import DeferredRequests
from onebox.services.inference import Inference
from onebox.services.jobs.creation import create_jobs
from onebox.services.metrics import Metrics
from onebox.services.running import RunningRequests
from onebox.services.uploads import create_uploads
from onebox.services.usage.creation import create_usage
from tests.unit.api.asking import USER, bounded
from tests.unit.api.fakes import entry
from tests.unit.api.hand import Hand

T = TypeVar("T")


class Shelf:
    """A catalogue of one checkpoint for each task. `gone` are those that are there no more."""

    def __init__(self) -> None:
        self.gone = set[str]()

    async def find(
        self, task: str, model: str | None, *, timeout_s: float | None = None, allowed: Any = None
    ) -> Entry:
        name = model or f"the-{task}"
        if name in self.gone or name == "unknown":
            raise ModelNotFound(f"no model {name}", param="model")
        found = self._entry(name, task)
        self.require_allowed(found, allowed)
        return found

    def require_allowed(self, found: Entry, allowed: Any, *, param: str = "model") -> None:
        if allowed is not None and found.name not in allowed:
            raise ModelNotAllowed(f"not {found.name}", param=param)

    async def named(self, model: str) -> Entry:
        """By its name, or by its hash, which is made of that."""
        name = bytes.fromhex(model).rstrip(b"\0").decode() if len(model) == 64 else model
        if name in self.gone:
            raise ModelNotFound(f"no model {name}", param="model")
        return self._entry(name)

    def entries(self) -> list[Entry]:
        return []

    def mark_broken(self, entry: Entry, reason: str) -> None:
        raise AssertionError(reason)

    def _entry(self, name: str, *tasks: str) -> Entry:
        facts = {
            **{"context_length": 99, "vocab": 99, "vision": False, "multiple": 8},
            **{"dimensions": 8, "prompts": {}, "default_prompt": None},
            **{"sampling_rate": 16_000, "voices": [{"id": "anna", "name": "Anna"}]},
        }
        every = ("text-to-image", "image-to-image", "chat", "completion", "embeddings", "speech")
        sha256 = name.encode().ljust(32, b"\0").hex()
        return entry(name, sha256=sha256, facts=facts, tasks=(*every, "transcription", *tasks))


class Later:
    """The server. Use it in one event loop, inside of `running`."""

    def __init__(
        self,
        services: Services,
        folder: Path,
        clock: Callable[[], float] = time.time,
        **changes: Any,
    ) -> None:
        self.shelf, self.hand = Shelf(), Hand()
        self._authenticator = services.access.authenticator
        catalogue: Any = self.shelf
        hand: Any = self.hand
        metrics = Metrics(lambda: [])
        settings = services.settings.model_copy(
            update={"data_dir": folder, "job_concurrency": 2, "max_body_bytes": 2**24, **changes}
        )
        self.database = Database(_empty_database(folder))
        self.usage = create_usage(settings, self.database, metrics, services.access)
        inference = Inference(
            catalogue,
            Companions(catalogue),
            hand,
            metrics,
            RunningRequests(),
            TaskDefaults(20, 7.5),
            timeout_s=100,
            log_prompts=False,
            gatekeeper=self.usage.gatekeeper,
            ledger=self.usage.ledger,
        )
        uploads = create_uploads(settings, self.database)
        self.batches = Batches(
            self.database, uploads, max_line_bytes=2**20, job_ttl_days=7, clock=clock
        )
        self.jobs = create_jobs(
            settings,
            self.database,
            inference,
            catalogue,
            metrics,
            identify=lambda found: found,
            wait_ready=_at_once,
            hooks=(self.batches.line_changed,),
            changed=self.batches.jobs_changed,
        )
        find_caller = services.access.keys.index.caller
        self.deferred = DeferredRequests(self.jobs.freezer, self.jobs.files, find_caller)
        self.jobs.add_executor("request", self.deferred)
        own = {
            "settings": settings,
            "inference": inference,
            "jobs": self.jobs,
            "deferred": self.deferred,
            "uploads": uploads,
            "batches": self.batches,
            "database": self.database,
            "usage": self.usage,
        }
        self.app = _app_with(services, own)
        self.deferred.attach(self.app)
        self.batches.attach(self.jobs, self.deferred, error_answer)
        self.client = httpx2.AsyncClient(
            transport=httpx2.ASGITransport(self.app), base_url="http://testserver", headers=USER
        )

    async def finished(self, job_id: str) -> dict[str, Any]:
        """The job when it has ended."""
        async for _ in self.jobs.events(job_id):
            pass
        return (await self.client.get(f"/v1/jobs/{job_id}")).json()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await asyncio.sleep(0)

    def sign(self, subject: str) -> dict[str, str]:
        """Headers of another caller."""
        token = self._authenticator.sign(subject, ["infer"], 60)
        return {"authorization": f"Bearer {token}"}

    async def result(self, job: dict[str, Any]) -> httpx2.Response:
        return await self.client.get(f"/v1/jobs/{job['id']}/result")


# An app is made once for many tests, for that takes a while; what it uses is of the test.
_apps: dict[int, tuple[Services, FastAPI, Any]] = {}


def _app_with(services: Services, own: dict[str, Any]) -> FastAPI:
    if id(services) not in _apps:
        every = {name: getattr(services, name) for name in Services.__slots__}
        given: Any = SimpleNamespace(**{**every, **own})
        _apps[id(services)] = services, create_app(given), given
    _, app, used = _apps[id(services)]
    vars(used).update(own)
    return app


async def _at_once() -> None:
    return None


def with_server(
    services: Services,
    folder: Path,
    use: Callable[[Later], Awaitable[T]],
    clock: Callable[[], float] = time.time,
    **changes: Any,
) -> T:
    """What comes of a use of it; `changes` are of its settings."""
    found: list[T] = []

    async def run() -> None:
        later = Later(services, folder, clock, **changes)
        await later.usage.start()
        await later.jobs.start()
        await later.batches.start()
        try:
            async with later.client:
                found.append(await use(later))
        finally:
            await later.batches.close()
            await later.jobs.close()
            await later.usage.close()
            later.database.close()

    asyncio.run(bounded(run()))
    return found[0]


# To bring a database up to date takes longer than most tests.
_empty: list[bytes] = []


def _empty_database(folder: Path) -> str:
    path = folder / "onebox.db"
    if not _empty:
        Database(sqlite_url(path)).close()
        _empty.append(path.read_bytes())
    elif not path.exists():
        path.write_bytes(_empty[0])
    return sqlite_url(path)
