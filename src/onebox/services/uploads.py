"""The files of `/v1/files`: each for the key that brought it alone, until it expires or is deleted.

A file is whole on the disk before there is a row for it, and its row goes before it does: what no
row names is left over, and swept away at the next start.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import BinaryIO

from sqlalchemy import Connection

from onebox.core.errors import InvalidInput, StorageFull
from onebox.core.os_support import sync_folder
from onebox.core.settings import Settings
from onebox.core.units import DAY_S
from onebox.services import upload_rows
from onebox.services.database import Database, Order
from onebox.services.jobs.ids import is_id, new_id
from onebox.services.upload_rows import Upload, not_found

FOLDER = "uploads"
PREFIX = "file"
EXPIRE_EVERY_S = 3600.0
MAX_NAME_CHARS = 255
# Control characters, and those that turn text around.
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

Also = Callable[[Connection, Upload], object]


class Uploads:
    """Keeps files in a folder, under their ids, and a row for each.

    Args:
        ttl_days: how long a file is kept that does not say so itself; 0 for ever.
        max_bytes: of all together; what would exceed it is refused.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        folder: Path,
        *,
        ttl_days: float,
        max_bytes: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._database = database
        self._folder = folder
        self._ttl_s = ttl_days * DAY_S
        self._max_bytes = max_bytes
        self._clock = clock
        self._expired = float("-inf")
        # Of files that are being written, and may have no row yet.
        self._begun_bytes = 0

    def recover(self) -> None:
        """Call once at start: sweeps away what an earlier server left behind."""
        known = self._database.write_now(upload_rows.all_ids)
        for path in self._folder.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)

    async def create(
        self,
        source: BinaryIO,
        *,
        filename: str,
        purpose: str,
        caller: str,
        lifetime_s: float | None = None,
        may_refuse: bool = True,
        also: Also | None = None,
    ) -> Upload:
        """Store all that the source holds; returns when it is on the disk.

        Once begun it is waited for, whoever leaves meanwhile. Raises StorageFull.

        Args:
            lifetime_s: seconds until the file expires.
            may_refuse: False for what the server itself has made, which has room in any case.
            also: further writes, of one transaction with the file's row.
        """
        await self._expire()
        now = self._clock()
        kept_s = self._ttl_s if lifetime_s is None else lifetime_s
        upload = Upload(
            id=new_id(PREFIX),
            caller=caller,
            filename=_shown_name(filename),
            purpose=purpose,
            size_bytes=await asyncio.to_thread(_size_of, source),
            created_at=now,
            expires_at=now + kept_s if kept_s else None,
        )
        storing = asyncio.ensure_future(self._store(source, upload, may_refuse, also))
        try:
            return await asyncio.shield(storing)
        finally:
            # The source may be closed afterwards.
            await asyncio.wait({storing})

    async def get(self, file_id: str, caller: str) -> Upload:
        """Raises FileNotFound, also for those of other callers and for what is no id."""
        if not is_id(file_id, PREFIX):
            raise not_found(file_id)
        now = self._clock()
        return await self._database.read(lambda c: upload_rows.load(c, file_id, caller, now))

    async def open(self, file_id: str, caller: str) -> tuple[Upload, Path]:
        """A file, and where its bytes are. Raises as `get` does."""
        upload = await self.get(file_id, caller)
        path = self._folder / upload.id
        if not await asyncio.to_thread(path.is_file):
            raise not_found(file_id)
        return upload, path

    async def page(
        self,
        caller: str,
        *,
        purpose: str | None = None,
        after: str | None = None,
        limit: int,
        order: Order = "desc",
    ) -> tuple[list[Upload], bool]:
        """Files that come after one of them, which may be gone, and whether there are more.

        Raises InvalidInput for what is no id.
        """
        if after is not None and not is_id(after, PREFIX):
            raise InvalidInput("after is not the id of a file", param="after")
        now = self._clock()
        found = await self._database.read(
            lambda c: upload_rows.page(
                c, caller, now, purpose=purpose, after=after, limit=limit + 1, order=order
            )
        )
        return found[:limit], len(found) > limit

    async def delete(self, file_id: str, caller: str) -> None:
        """Raises as `get` does."""
        if not is_id(file_id, PREFIX):
            raise not_found(file_id)
        now = self._clock()
        await self._database.write(lambda c: upload_rows.remove(c, file_id, caller, now))
        await asyncio.to_thread(self._unlink, [file_id])

    async def _store(
        self, source: BinaryIO, upload: Upload, may_refuse: bool, also: Also | None
    ) -> Upload:
        def add(connection: Connection) -> None:
            upload_rows.add(connection, upload)
            if also is not None:
                also(connection, upload)

        self._begun_bytes += upload.size_bytes
        try:
            if may_refuse:
                await self._require_room(upload.size_bytes)
            await asyncio.to_thread(self._write, source, upload.id)
            await self._database.write(add)
        except BaseException:
            await asyncio.to_thread(self._unlink, [upload.id])
            raise
        finally:
            self._begun_bytes -= upload.size_bytes
        return upload

    async def _require_room(self, size: int) -> None:
        """For a file that is counted as begun."""
        used = await self._database.read(upload_rows.total_bytes) + self._begun_bytes - size
        if used + size > self._max_bytes:
            raise StorageFull(
                f"the file has {size} bytes, and {used} of {self._max_bytes} are taken; delete "
                "files (DELETE /v1/files/{id}), or raise ONEBOX_UPLOAD_STORE",
                details={"used": used, "max": self._max_bytes},
            )

    def _write(self, source: BinaryIO, file_id: str) -> None:
        partial = self._folder / f"{file_id}.part"
        try:
            with partial.open("xb") as target:
                shutil.copyfileobj(source, target, 1024 * 1024)
                target.flush()
                os.fsync(target.fileno())
            partial.replace(self._folder / file_id)
        finally:
            partial.unlink(missing_ok=True)
        sync_folder(self._folder)

    def _unlink(self, file_ids: Iterable[str]) -> None:
        for file_id in file_ids:
            (self._folder / file_id).unlink(missing_ok=True)

    async def _expire(self) -> None:
        now = self._clock()
        if now - self._expired < EXPIRE_EVERY_S:
            return
        self._expired = now
        gone = await self._database.write(lambda c: upload_rows.remove_expired(c, now))
        await asyncio.to_thread(self._unlink, gone)


def create_uploads(settings: Settings, database: Database) -> Uploads:
    """In the data folder, of which this server is the owner."""
    uploads = Uploads(
        database,
        settings.data_dir / FOLDER,
        ttl_days=settings.upload_ttl,
        max_bytes=int(settings.upload_store),
    )
    uploads.recover()
    return uploads


def _size_of(source: BinaryIO) -> int:
    """In bytes; leaves the source at its beginning."""
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    return size


def _shown_name(name: str) -> str:
    """Its last part, fit to be shown: it is no path, and none is made of it."""
    last = UNPRINTABLE.sub("", re.split(r"[/\\]", name)[-1]).strip()
    return last[:MAX_NAME_CHARS] or "file"
