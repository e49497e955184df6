"""Large parts of requests and results, which go by file between gateway and worker."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from onebox.core.errors import QueueFull
from onebox.core.media import MediaRef, Spool
from onebox.core.results import Artifact
from onebox.runtime.wire import SPOOL_ABOVE_BYTES

# Of all requests that wait or run: their files are in memory as long as that.
MAX_HELD_BYTES = 1024**3
RETRY_S = 5.0


class Spooling:
    """Puts bytes into the spool and takes them out, off the event loop."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._held_bytes = 0

    @contextlib.contextmanager
    def room(self, request: BaseModel, *, may_refuse: bool = True) -> Iterator[None]:
        """For a request's large binary parts, which the gateway holds until it ends.

        One that is alone may have any size. Raises QueueFull.
        """
        size, held = _large_bytes(request), self._held_bytes
        if may_refuse and size and held and held + size > MAX_HELD_BYTES:
            raise QueueFull(
                f"the requests that wait or run have brought {held} bytes of files, at most "
                f"{MAX_HELD_BYTES} are held; try again later",
                details={"waiting": held, "max": MAX_HELD_BYTES, "queue": "uploads"},
                retry_after_s=RETRY_S,
            )
        self._held_bytes += size
        try:
            yield
        finally:
            self._held_bytes -= size

    def discard(self, spooled: list[str]) -> None:
        for spool_id in spooled:
            self._spool.discard(spool_id)

    async def put_large_parts(self, request: BaseModel, spooled: list[str]) -> BaseModel:
        """The input with its large binary parts in the spool; adds their ids to `spooled`."""
        changed: dict[str, Any] = {}
        for name, value in request:
            if isinstance(value, MediaRef) and _is_large(value):
                changed[name] = await self._spooled(value, spooled)
            elif isinstance(value, list) and any(map(_is_large, value)):
                changed[name] = [
                    await self._spooled(item, spooled) if _is_large(item) else item
                    for item in value
                ]
        return request.model_copy(update=changed) if changed else request

    async def _spooled(self, media: MediaRef, spooled: list[str]) -> MediaRef:
        file_id = await self._put(media.data or b"", spooled)
        return MediaRef(media_type=media.media_type, file_id=file_id)

    async def _put(self, data: bytes, spooled: list[str]) -> str:
        """Once begun it is waited for, or its file would stay when the client leaves meanwhile."""
        writing = asyncio.ensure_future(asyncio.to_thread(self._spool.put, data))
        try:
            return await asyncio.shield(writing)
        finally:
            spooled.append(await writing)

    async def with_bytes(self, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """The artifacts, each with its bytes."""
        if all(artifact.spool_id is None for artifact in artifacts):
            return artifacts
        # All in one go and to the end, so that no file stays when the client leaves meanwhile.
        return await asyncio.shield(asyncio.to_thread(self._with_bytes, artifacts))

    def _with_bytes(self, artifacts: Sequence[Artifact]) -> tuple[Artifact, ...]:
        return tuple(
            artifact
            if artifact.spool_id is None
            else Artifact(
                artifact.media_type, self._spool.take(artifact.spool_id), None, artifact.meta
            )
            for artifact in artifacts
        )


def _large_bytes(request: BaseModel) -> int:
    parts = (
        part for _, value in request for part in (value if isinstance(value, list) else [value])
    )
    return sum(len(part.data) for part in parts if _is_large(part))


def _is_large(value: Any) -> bool:
    is_media = isinstance(value, MediaRef) and value.data is not None
    return is_media and len(value.data) > SPOOL_ABOVE_BYTES
