"""`Catalogue`: the checkpoint a request means, as it lies on disk now."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, ModelNotAllowed, ModelNotFound, TaskNotSupported
from onebox.core.plugins import TASKS
from onebox.core.stages import Stage
from onebox.registry.registry import Registry

# Of a loaded checkpoint the files are looked at again only after so long: hundreds of requests a
# second must not each walk a folder.
FRESH_S = 1.0
# Names in the text of an error; its details have all.
SHOWN = 20


class Catalogue:
    """Answers from memory where it may, and from the disk where it must.

    Args:
        is_loaded: whether the bundle of an entry's key is in memory, so that nothing is read.
        convert: makes of a pickle what can be used, within some seconds, and gives back the entry.
    """

    def __init__(
        self,
        registry: Registry,
        is_loaded: Callable[[str], bool],
        convert: Callable[[Entry, float | None], Awaitable[Entry]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._is_loaded = is_loaded
        self._convert = convert
        self._clock = clock
        self._checked: dict[str, float] = {}

    async def find(
        self,
        task_name: str,
        model: str | None,
        *,
        timeout_s: float | None = None,
        allowed: Collection[str] | None = None,
    ) -> Entry:
        """The checkpoint for a task; the task's default when no model is named.

        A pickle is converted first. Raises ModelNotFound, ModelNotAllowed, ModelBusy (it is being
        written), InvalidInput (there is no default), TaskNotSupported (nothing here can do it), and
        what a conversion raises.

        Args:
            allowed: names of the models that may be used (`Allowance.models`); None: all.
        """
        if model is None:
            self._require_any(task_name)
            entry = self._default_for(task_name, allowed)
        else:
            with nameless(allowed):
                entry = self._registry.resolve(model, task=task_name)
            self.require_allowed(entry, allowed)
        return await self._convert(await self._fresh(entry), timeout_s)

    def require_allowed(
        self, entry: Entry, allowed: Collection[str] | None, *, param: str = "model"
    ) -> None:
        """Raises ModelNotAllowed for what is not among these names (`Allowance.models`)."""
        if allowed is not None and not self._registry.is_among(entry, allowed):
            raise ModelNotAllowed(
                f"this key may not use {entry.name}; GET /v1/models lists what it may use",
                param=param,
                details={"model": entry.name},
            )

    async def for_stage(self, stage: Stage, *, timeout_s: float | None = None) -> Entry:
        """The checkpoint for a part of a request. Raises as `find` does."""
        if stage.model is not None:
            return await self.find(stage.task, stage.model, timeout_s=timeout_s)
        able = [entry for entry in self.entries() if stage.task in entry.tasks]
        # What a request needs on its way is looked for here: see `Stage.fits`.
        able = [entry for entry in able if entry.upstream is None]
        if stage.fits is not None or stage.prefers is not None:
            able = [entry for entry in able if entry.status != "broken"]
        if stage.fits is not None:
            able = [entry for entry in able if stage.fits(entry)]
        if not able and stage.needs:
            raise TaskNotSupported(stage.needs, param="model", details={"task": stage.task})
        if not able or (stage.fits is None and stage.prefers is None):
            return await self.find(stage.task, None, timeout_s=timeout_s)
        chosen = self.first_of(able, stage.task, stage.prefers)
        return await self._convert(await self._fresh(chosen), timeout_s)

    def first_of(
        self, able: Sequence[Entry], task_name: str, prefers: Callable[[Entry], bool] | None
    ) -> Entry:
        """The task's default if it is among these, else the first one that is preferred."""
        with contextlib.suppress(InvalidInput):  # there is none
            default = self._registry.default_for(task_name)
            if default in able:
                return default
        return next(filter(prefers, able), able[0]) if prefers else able[0]

    async def named(self, model: str) -> Entry:
        """The checkpoint of that name. Raises as `find` does."""
        return await self._convert(await self.listed(model), None)

    async def listed(self, model: str) -> Entry:
        """The checkpoint of that name; a pickle is not converted. Raises as `find` does."""
        return await self._fresh(self._registry.resolve(model))

    def entries(self, allowed: Collection[str] | None = None) -> list[Entry]:
        """All checkpoints as last seen, or those of some names; sorted by name."""
        found = self._registry.entries()
        if allowed is None:
            return found
        return [entry for entry in found if self._registry.is_among(entry, allowed)]

    def mark_broken(self, entry: Entry, reason: str) -> None:
        """Using it showed that it is broken."""
        self._registry.mark_broken(entry, reason)

    def _default_for(self, task_name: str, allowed: Collection[str] | None) -> Entry:
        """The task's default; where that is not allowed, the only model that is."""
        if allowed is None:
            return self._registry.default_for(task_name)
        able = [
            entry
            for entry in self.entries(allowed)
            if task_name in entry.tasks and entry.status != "broken"
        ]
        with contextlib.suppress(InvalidInput):  # there is none
            default = self._registry.default_for(task_name)
            if default in able:
                return default
        if len(able) == 1:
            return able[0]
        names = [entry.name for entry in able]
        if not names:
            raise ModelNotAllowed(
                f"this key may use no model that can do {task_name}",
                param="model",
                details={"task": task_name},
            )
        raise InvalidInput(
            f"name a model for {task_name}: {', '.join(names[:SHOWN])}",
            param="model",
            details={"candidates": names},
        )

    def _require_any(self, task_name: str) -> None:
        """Raises TaskNotSupported with what to install, where a task tells that."""
        needs = TASKS[task_name].needs if task_name in TASKS else ""
        if needs and not any(task_name in entry.tasks for entry in self.entries()):
            raise TaskNotSupported(
                f"no model here can do {task_name}; install {needs}",
                param="model",
                details={"task": task_name, "candidates": []},
            )

    async def _fresh(self, entry: Entry) -> Entry:
        if entry.upstream is not None:
            return entry
        now = self._clock()
        if now - self._checked.get(entry.key, -FRESH_S) < FRESH_S and self._is_loaded(entry.key):
            return entry
        current = await asyncio.to_thread(self._registry.ensure_fresh, entry)
        if current.key not in self._checked and len(self._checked) > 10_000:
            self._checked.clear()
        self._checked[current.key] = now
        return current


@contextlib.contextmanager
def nameless(allowed: Collection[str] | None) -> Iterator[None]:
    """For whom some models are allowed alone: a model that is not there is told of without the
    names of others.
    """
    try:
        yield
    except ModelNotFound as error:
        if allowed is None:
            raise
        message = "there is no such model; GET /v1/models lists what this key may use"
        raise ModelNotFound(message, param=error.param, details={"nearest": []}) from None
