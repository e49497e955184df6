"""`Jobs` over a real table and real files, in front of a worker that answers as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from onebox.core.contracts import Entry
from onebox.core.errors import ModelNotFound
from onebox.core.results import Artifact, Timing
from onebox.core.settings import Settings
from onebox.runtime.wire import Failed, Progress, Result, Started, Submit
from onebox.services.access.caller import Caller
from onebox.services.database import Database, sqlite_url
from onebox.services.jobs.creation import create_jobs
from onebox.services.jobs.job import Job
from onebox.services.jobs.jobs import Jobs, Submission
from onebox.services.request import Options
from tests.unit.runtime.clients import run
from tests.unit.services.kitchen import MODEL, FakeInput, Kitchen
from tests.unit.services.workshop import until

ALICE = Caller("key:alice", frozenset({"infer"}))
BOB = Caller("key:bob", frozenset({"infer"}))
ADMIN = Caller("key:admin", frozenset({"admin"}))
SHA = "ab" * 32
PICTURE = Artifact("image/png", b"picture", None, {"seed": 7})


class Shelf:
    """A catalogue of these checkpoints, found by name or by hash."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = list(entries)

    async def named(self, model: str) -> Entry:
        for entry in self.entries:
            if model in (entry.name, entry.sha256):
                return entry
        raise ModelNotFound(f"no model {model}")

    async def find(
        self,
        task_name: str,
        model: str | None,
        *,
        timeout_s: float | None = None,
        allowed: Any = None,
    ) -> Entry:
        return await self.named(model or self.entries[0].name)


class Office:
    """`answer` gets each request that comes to the worker, and tells what it says to it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.shelf = Shelf(msgspec.structs.replace(MODEL, sha256=SHA))
        self.kitchen = Kitchen(folder / "spool")
        self.kitchen.catalogue = self.shelf
        self.kitchen.inference._catalogue = self.shelf
        self.settings = Settings(_env_file=None, data_dir=folder, **settings)
        self.answer: Callable[[Submit], None] = self.give
        self.changes = 0
        self._seen = 0

    async def open(self) -> Jobs:
        """As at the start of the server."""
        self.database = Database(sqlite_url(self.folder / "onebox.db"))
        self.jobs = create_jobs(
            self.settings,
            self.database,
            self.kitchen.inference,
            self.shelf,
            self.kitchen.metrics,
            identify=self.identify,
            wait_ready=self._ready,
            changed=self._changed,
        )
        await self.jobs.start()
        self._worker = asyncio.ensure_future(self._work())
        return self.jobs

    async def close(self) -> None:
        self._worker.cancel()
        await self.jobs.close()
        self.database.close()

    def scene(self, act: Callable[[Office], Any]) -> Any:
        """What comes of an act between opening and closing."""

        async def scene() -> Any:
            await self.open()
            try:
                return await act(self)
            finally:
                await self.close()

        return run(scene())

    async def submit(
        self, caller: Caller = ALICE, submission: Submission | None = None, **given: Any
    ) -> Job:
        return await self.jobs.submit_task(
            "fake",
            FakeInput(**given),
            model=self.shelf.entries[0].name,
            caller=caller,
            options=Options("client", "job"),
            submission=submission or Submission(),
        )

    async def ended(self, job: Job) -> Job:
        """The job once it has ended, however it did."""
        async for update in self.jobs.events(job.id):
            last = update.type
        assert last in ("completed", "failed", "cancelled")
        return await self.jobs.get(job.id, ADMIN)

    def identify(self, entry: Entry) -> Entry:
        return msgspec.structs.replace(entry, sha256=SHA)

    def give(self, frame: Submit) -> None:
        self.kitchen.client.answer(
            Started(frame.id),
            Progress(frame.id, 1, 1),
            Result(frame.id, (PICTURE,), Timing()),
        )

    def fail(self, code: str) -> Callable[[Submit], None]:
        return lambda frame: self.kitchen.client.answer(Failed(frame.id, code, "why"))

    async def _work(self) -> None:
        while True:
            await until(lambda: len(self.kitchen.submits()) > self._seen)
            self._seen += 1
            self.answer(self.kitchen.submits()[self._seen - 1])

    async def _ready(self) -> None:
        return

    def _changed(self) -> None:
        self.changes += 1
