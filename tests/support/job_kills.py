"""A stream of jobs that goes on while its server is killed again and again, and what is left then.

Clients send a job again, under its key, until they are told that it was accepted.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.support.mill_plugin import milled
from tests.support.server import Server

MILL, VOICE = "mill", "voice"
SPEECH = "/v1/audio/speech"
CLIENTS = 3
TEXTS = 8
# So long that some are always under way while a worker is up.
STEP_S = 0.02


@dataclass
class Submission:
    """One job. `answers` are the ids it was told."""

    number: int
    sent: int = 0
    answers: list[str] = field(default_factory=list)

    @property
    def data(self) -> bytes | None:
        """What it uploads: too long to lie in its row."""
        return b"%06d" % self.number * 2000 if self.number % 3 == 0 else None

    @property
    def is_speech(self) -> bool:
        return self.number % 3 == 1

    @property
    def speech(self) -> dict[str, Any]:
        text = f"This is sentence number {self.number % TEXTS}."
        return {"model": VOICE, "voice": "mill", "input": text, "response_format": "pcm", "seed": 7}

    def send(self, client: httpx.Client) -> None:
        self.sent += 1
        headers = {"Idempotency-Key": f"kill-{self.number}"}
        work: dict[str, Any] = {"text": str(self.number), "step_s": STEP_S}
        job: dict[str, Any] = {"task": "mill", "model": MILL}
        if self.is_speech:
            body = {**self.speech, "background": True}
            answer = client.post(SPEECH, json=body, headers=headers)
        elif self.data is None:
            job["input"] = {**work, "steps": 1 + self.number % 4}
            answer = client.post("/v1/jobs", json=job, headers=headers)
        else:
            form = {**job, "input": json.dumps(work)}
            answer = client.post("/v1/jobs", data=form, files={"data": self.data}, headers=headers)
        assert answer.status_code == 202, answer.text
        self.answers.append(answer.json()["id"])

    def expected(self, client: httpx.Client, job: dict[str, Any]) -> bytes:
        """The result, by the seed that was fixed when the job was sent."""
        if self.is_speech:
            return client.post(SPEECH, json=self.speech).content
        return milled(str(self.number), job["request"]["seed"], self.data or b"")


class Stream:
    """All jobs. Those that got no answer are sent first, by the next clients."""

    def __init__(self) -> None:
        self.jobs: list[Submission] = []
        self._unsent: deque[Submission] = deque()
        self._there_is_one = threading.Semaphore(0)

    def add(self, count: int) -> None:
        for _ in range(count):
            job = Submission(len(self.jobs))
            self.jobs.append(job)
            self._put(job)

    def unanswered(self) -> list[Submission]:
        return [job for job in self.jobs if not job.answers]

    @contextlib.contextmanager
    def flowing(self, server: Server) -> Iterator[None]:
        """To the server, until the end of the body; it may be killed in there."""
        stop = threading.Event()
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(self._flow, server, stop) for _ in range(CLIENTS)]
            try:
                yield
            finally:
                stop.set()
                for client in clients:
                    client.result(120)

    def _flow(self, server: Server, stop: threading.Event) -> None:
        with server.client() as client:
            while not stop.is_set():
                if not self._there_is_one.acquire(timeout=0.05):
                    continue
                job = self._unsent.popleft()
                try:
                    job.send(client)
                except httpx.TransportError:
                    self._put(job, first=True)
                    return

    def _put(self, job: Submission, *, first: bool = False) -> None:
        (self._unsent.appendleft if first else self._unsent.append)(job)
        self._there_is_one.release()


class Left(NamedTuple):
    """What a killed server leaves.

    Attributes:
        running: the jobs it was at.
        written: files of results that no row names.
        cut_off: submissions whose client got no answer; so many of them are `stored`.
        last_chance: jobs that fail if their next attempt is lost too.
    """

    running: int
    written: int
    cut_off: int
    stored: int
    last_chance: list[str]


def left_behind(data_dir: Path, stream: Stream, copies: Path) -> Left:
    with stored(data_dir, copies) as database:
        running = database.execute("SELECT id, lost FROM jobs WHERE state = 'running'").fetchall()
        (rows,) = database.execute("SELECT count(*) FROM jobs").fetchone()
        lost_twice = "SELECT id FROM jobs WHERE state = 'queued' AND lost > 1"
        last_chance = [row[0] for row in database.execute(lost_twice)]
    folders = [data_dir / "jobs" / job_id for job_id, _ in running]
    names = [path.name for folder in folders if folder.exists() for path in folder.iterdir()]
    unanswered = stream.unanswered()
    return Left(
        len(running),
        sum(not name.startswith("in-") for name in names),
        sum(job.sent > 0 for job in unanswered),
        rows - (len(stream.jobs) - len(unanswered)),
        last_chance + [job_id for job_id, lost in running if lost],
    )


@contextlib.contextmanager
def stored(data_dir: Path, copies: Path) -> Iterator[sqlite3.Connection]:
    """A copy of the database: looking at the original would tidy up what its server left."""
    copies.mkdir(exist_ok=True)
    for old in copies.iterdir():
        old.unlink()
    for name in ("onebox.db", "onebox.db-wal"):
        if (data_dir / name).exists():
            shutil.copy(data_dir / name, copies / name)
    with contextlib.closing(sqlite3.connect(copies / "onebox.db")) as database:
        yield database


@contextlib.contextmanager
def read_only(data_dir: Path) -> Iterator[sqlite3.Connection]:
    """The database of a server that runs: a copy could be made in the middle of a write."""
    place = f"file:{data_dir / 'onebox.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(place, uri=True, timeout=60)) as database:
        yield database


def files_of(data_dir: Path) -> dict[str, set[str]]:
    """The files of jobs, by job."""
    found: dict[str, set[str]] = {}
    for folder in (data_dir / "jobs").iterdir():
        # Folders may be swept while they are looked at.
        with contextlib.suppress(FileNotFoundError):
            found[folder.name] = {path.name for path in folder.iterdir()}
    return found
