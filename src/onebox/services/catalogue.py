"""`Catalogue`: the checkpoint a request means, as it lies on disk now."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from onebox.core.contracts import Entry
from onebox.registry.registry import Registry

# Of a loaded checkpoint the files are looked at again only after so long: hundreds of requests a
# second must not each walk a folder.
FRESH_S = 1.0


class Catalogue:
    """Answers from memory where it may, and from the disk where it must.

    Args:
        is_loaded: whether the bundle of an entry's key is in memory, so that nothing is read.
    """

    def __init__(
        self,
        registry: Registry,
        is_loaded: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._is_loaded = is_loaded
        self._clock = clock
        self._checked: dict[str, float] = {}

    async def find(self, task_name: str, model: str | None) -> Entry:
        """The checkpoint for a task; the task's default when no model is named.

        Raises ModelNotFound, ModelBusy (it is being written), InvalidInput (there is no default).
        """
        if model is None:
            return await self._fresh(self._registry.default_for(task_name))
        return await self._fresh(self._registry.resolve(model, task=task_name))

    async def named(self, model: str) -> Entry:
        """The checkpoint of that name. Raises as `find` does."""
        return await self._fresh(self._registry.resolve(model))

    def mark_broken(self, entry: Entry, reason: str) -> None:
        """Using it showed that it is broken."""
        self._registry.mark_broken(entry, reason)

    async def _fresh(self, entry: Entry) -> Entry:
        now = self._clock()
        if now - self._checked.get(entry.key, -FRESH_S) < FRESH_S and self._is_loaded(entry.key):
            return entry
        current = await asyncio.to_thread(self._registry.ensure_fresh, entry)
        if current.key not in self._checked and len(self._checked) > 10_000:
            self._checked.clear()
        self._checked[current.key] = now
        return current
