"""What those who watch a job are told: every change of its state, and its progress between."""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal

from onebox.services.jobs.job import JobEvent, Transition
from onebox.services.jobs.live import Live
from onebox.services.jobs.store import JobStore

_ID = re.compile(r"(\d{1,9})-(\d{1,9})")
ENDS: frozenset[Transition] = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class Update:
    """One piece of news of a job.

    Attributes:
        id: `<change>-<number>`, to resume after it: what has changed since is told again.
        change: of its state; None for progress.
        live: what the attempt does, as of when this is read; only of progress.
    """

    id: str
    type: Transition | Literal["progress"]
    change: JobEvent | None = None
    live: Live | None = None


class Updates:
    """Wakes those who watch a job. Lives on the gateway's event loop.

    Args:
        live: the attempt at a job that runs now.
        changed: called whenever the state of any job may be another.
    """

    def __init__(
        self,
        store: JobStore,
        live: Callable[[str], Live | None],
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._live = live
        self._changed = changed
        self._watchers: defaultdict[str, set[_Watcher]] = defaultdict(set)
        self._closed = False

    def state_changed(self, job_id: str) -> None:
        """There may be a new row of its events, or it is gone."""
        self._changed()
        for watcher in self._watchers.get(job_id, ()):
            watcher.has_news = True
            watcher.awake.set()

    def look_again(self) -> None:
        """Another server may have changed any of them."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.has_news = True
                watcher.awake.set()

    def got_on(self, job_id: str) -> None:
        """Its attempt tells something new."""
        for watcher in self._watchers.get(job_id, ()):
            watcher.awake.set()

    def close(self) -> None:
        """Whoever watches gets no more."""
        self._closed = True
        for job_id in list(self._watchers):
            self.state_changed(job_id)

    async def of(self, job_id: str, after: str | None = None) -> AsyncGenerator[Update, None]:
        """Until the job has ended or is deleted, or the server stops.

        Who reads slowly gets the newest progress, not all of it.

        Args:
            after: the id of the last one that was read; what is none of its begins at the
                beginning.
        """
        watcher = _Watcher(*_parsed(after))
        self._watchers[job_id].add(watcher)
        try:
            async for update in self._of(job_id, watcher):
                yield update
        finally:
            self._watchers[job_id].discard(watcher)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    async def _of(self, job_id: str, watcher: _Watcher) -> AsyncGenerator[Update, None]:
        while True:
            watcher.awake.clear()
            if watcher.has_news:
                watcher.has_news = False
                changes = await self._store.events(job_id, after=watcher.seq)
                every = changes or await self._store.events(job_id)
                if every and every[-1].seq < watcher.seq:
                    # Who names a change that never was has seen none of them.
                    changes = every
                for change in changes:
                    watcher.seq, watcher.number = change.seq, 0
                    yield Update(f"{change.seq}-0", change.type, change)
                # One without any is deleted.
                if self._closed or not every or every[-1].type in ENDS:
                    return
            live = self._live(job_id)
            if live is not None and watcher.seen != (live, live.version) and live.version:
                watcher.seen = live, live.version
                watcher.number += 1
                yield Update(f"{watcher.seq}-{watcher.number}", "progress", live=live)
            await watcher.awake.wait()


class _Watcher:
    """One who reads. `seen` is the attempt, and the version of it, that was told last."""

    __slots__ = ("awake", "has_news", "number", "seen", "seq")

    def __init__(self, seq: int, number: int) -> None:
        self.seq = seq
        self.number = number
        self.seen: tuple[Live, int] | None = None
        self.has_news = True
        self.awake = asyncio.Event()


def _parsed(after: str | None) -> tuple[int, int]:
    match = _ID.fullmatch(after or "")
    return (int(match[1]), int(match[2])) if match else (0, 0)
