"""How jobs get onto the disk: their binary parts first, then their rows, many in one go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from onebox.services.database import Database
from onebox.services.jobs import rows
from onebox.services.jobs.artifacts import ArtifactFiles
from onebox.services.jobs.job import IdempotencyConflict, Job, NewJob
from onebox.services.jobs.room import Room
from onebox.services.jobs.rows import Draft, Hook


class Insertion:
    """A part of `JobStore`, which says what its parts are."""

    def __init__(
        self,
        database: Database,
        files: ArtifactFiles,
        room: Room,
        hooks: Sequence[Hook],
        clock: Callable[[], float],
        owner: str | None,
    ) -> None:
        self._database = database
        self._files = files
        self._room = room
        self._hooks = hooks
        self._clock = clock
        self._owner = owner

    async def insert(self, jobs: Sequence[NewJob]) -> list[Job]:
        new = dict(enumerate(jobs))
        found: dict[int, Job] = {}
        if any(job.idempotency_key is not None for job in jobs):
            # What is stored already needs no room.
            found = await self._database.read(lambda connection: _sent_before(connection, new))
        now = self._clock()
        unknown = {n: job for n, job in new.items() if n not in found}
        drafts = {n: rows.draft(job, now, n, self._owner) for n, job in unknown.items()}
        if drafts:
            found |= await self._insert(drafts)
        return [found[n] for n in new]

    async def _insert(self, drafts: Mapping[int, Draft]) -> dict[int, Job]:
        jobs = [draft.job for draft in drafts.values()]
        with_files = [draft for draft in drafts.values() if draft.new.blobs]
        self._room.take(jobs)
        stored: dict[int, Job] = {}
        try:
            if with_files:
                await asyncio.to_thread(self._put_files, with_files)
            stored = await self._add(drafts)
        finally:
            kept = {job.id for job in stored.values()}
            self._room.give_back(job for job in jobs if job.id not in kept)
            refused = [draft for draft in with_files if draft.job.id not in kept]
            if refused:
                await asyncio.to_thread(self._remove_files, refused)
        return stored

    async def _add(self, drafts: Mapping[int, Draft]) -> dict[int, Job]:
        def add(connection: Connection) -> dict[int, Job]:
            # Since it was looked for, the same may have been sent again.
            found = _sent_before(connection, {n: draft.new for n, draft in drafts.items()})
            new = {n: draft for n, draft in drafts.items() if n not in found}
            rows.add(connection, list(new.values()), self._hooks)
            return {**found, **{n: draft.job for n, draft in new.items()}}

        try:
            return await self._database.write(add)
        except IntegrityError:
            # Another connection stored one under the same key in the same moment.
            return await self._database.write(add)

    def _put_files(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self._files.put_blobs(draft.job.id, draft.new.blobs)

    def _remove_files(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            self._files.remove(draft.job.id)


def _sent_before(connection: Connection, jobs: Mapping[int, NewJob]) -> dict[int, Job]:
    """Those of them that their callers sent before under the same keys, as they are stored."""
    found = {}
    for n, job in jobs.items():
        digest = rows.digest_of(job)
        earlier = digest and rows.find_earlier(connection, job.caller, digest)
        if not earlier:
            continue
        found[n], fingerprint = earlier
        if fingerprint != job.fingerprint:
            raise IdempotencyConflict(
                f"this Idempotency-Key was used for another request, which became {found[n].id}; "
                "send a new key with a new request",
                details={"job": found[n].id},
            )
    return found
