"""A request that is carried out later.

Its route runs as usual until the work would begin. There a `Recording` stops it, with all that was
decided by then; when its turn has come, a `Replay` makes the same route decide the same again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import msgspec
from pydantic import BaseModel

from onebox.core.errors import AppError
from onebox.core.media import MediaRef
from onebox.services.jobs.work import TaskWork
from onebox.services.request import Prepared

# Kept in any case: some routes draw it themselves.
SEED = "seed"


class Deferred(Exception):
    """Ends the route of a request that is carried out later. No error: it is valid as it is."""


@dataclass(slots=True)
class Recording:
    """Notes what a route decides.

    Attributes:
        prepared: its requests to tasks, each with the fields that were filled in.
        fetched: what was behind the links of the request.
    """

    prepared: list[tuple[Prepared, dict[str, Any]]] = field(default_factory=list)
    fetched: dict[str, MediaRef] = field(default_factory=dict)

    def note(self, request: BaseModel, prepared: Prepared) -> None:
        before = dict(request)
        filled = {
            name: value
            for name, value in prepared.input
            if name not in before or name == SEED or not _same(before[name], value)
        }
        self.prepared.append((prepared, filled))


class Replay:
    """Gives back what was decided.

    Args:
        decided: by task, with the fields that were filled in as input. What a route does again is
            decided as it was before.
        fetched: what was behind the links of the request.
        freeze: of a request of which nothing was decided.
        restore: the request as part of the job, the how manieth of its attempt.

    Attributes:
        failure: what the last request to a worker ended in.
    """

    def __init__(
        self,
        decided: Mapping[str, TaskWork],
        fetched: Mapping[str, MediaRef],
        *,
        freeze: Callable[[Prepared], Awaitable[TaskWork]],
        restore: Callable[[TaskWork, int], Awaitable[Prepared]],
    ) -> None:
        self.fetched = fetched
        self.failure: AppError | None = None
        self._decided = decided
        self._freeze = freeze
        self._restore = restore
        self._count = 0

    def knows(self, task: str) -> bool:
        return task in self._decided

    async def again(self, task: str, request: BaseModel) -> Prepared:
        """The request to a task with what was decided of it."""
        work = self._decided[task]
        filled = {**dict(request), **work.input}
        return await self._numbered(msgspec.structs.replace(work, input=filled))

    async def joined(self, prepared: Prepared) -> Prepared:
        """One of which nothing was decided, as part of the job."""
        return await self._numbered(await self._freeze(prepared))

    async def _numbered(self, work: TaskWork) -> Prepared:
        number, self._count = self._count, self._count + 1
        return await self._restore(work, number)


_CURRENT: ContextVar[Recording | Replay | None] = ContextVar("deferral", default=None)


def begin(deferral: Recording | Replay | None) -> None:
    """For the rest of this asyncio task, and for those it starts; None: no longer."""
    _CURRENT.set(deferral)


def current() -> Recording | Replay | None:
    return _CURRENT.get()


def stop_here() -> None:
    """The work would begin now. Raises Deferred when it is to be done later."""
    if isinstance(_CURRENT.get(), Recording):
        raise Deferred


def fetched(url: str) -> MediaRef | None:
    """What was behind a link when the request came."""
    replay = _CURRENT.get()
    return replay.fetched.get(url) if isinstance(replay, Replay) else None


def keep_fetched(url: str, media: MediaRef) -> None:
    recording = _CURRENT.get()
    if isinstance(recording, Recording):
        recording.fetched[url] = media


def failed(error: AppError) -> None:
    """What the work ended in, where the answer cannot tell."""
    replay = _CURRENT.get()
    if isinstance(replay, Replay):
        replay.failure = error


def _same(before: Any, now: Any) -> bool:
    return before is now or bool(before == now)
