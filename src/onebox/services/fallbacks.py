"""Fallbacks: which model a request goes to when its own is overloaded, before anything was sent."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping
from contextvars import ContextVar

import structlog

from onebox.core.contracts import Entry
from onebox.core.errors import (
    AppError,
    ModelTooLarge,
    OutOfMemory,
    QueueFull,
    UpstreamFailed,
    UpstreamTimeout,
    WorkerLost,
    WorkerUnready,
)
from onebox.runtime.wire import Delta, Event
from onebox.services.catalogue import Catalogue
from onebox.services.request import Another, Outcome, Prepared

log = structlog.get_logger(__name__)

# The model cannot be had now; another one may. What is wrong with a request is so everywhere.
OVERLOADED = (
    QueueFull,
    WorkerUnready,
    WorkerLost,
    OutOfMemory,
    ModelTooLarge,
    UpstreamFailed,
    UpstreamTimeout,
)

# In the task of one request: the model that took it over.
_TAKEN: ContextVar[str | None] = ContextVar("fallback", default=None)


def taken_over_by() -> str | None:
    """The model that took over the request of this asyncio task, if one did."""
    return _TAKEN.get()


class Fallbacks:
    """
    Args:
        names: model → the one that takes over; before what a checkpoint's `onebox.toml` says.
        told: of each request that another model takes over: model, fallback, code of the error.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        catalogue: Catalogue,
        told: Callable[[str, str, str], None] = lambda *_: None,
    ) -> None:
        self._names = names
        self._catalogue = catalogue
        self._told = told

    def plan(
        self,
        task: str,
        entry: Entry,
        prepare: Callable[[Entry], Awaitable[Prepared]],
        allowed: Collection[str] | None = None,
        tried: tuple[str, ...] = (),
    ) -> Another | None:
        """How the request gets another model; None where it has none.

        Args:
            prepare: the request anew, for another model. Raises what makes that impossible.
            allowed: names of the models that the caller may use; None: all.
            tried: keys of the models that could not be had, so that no circle goes on for ever.
        """
        name = self._name_for(entry)
        if name is None:
            return None
        seen = (*tried, entry.key)

        async def another(error: AppError) -> Prepared | None:
            if not isinstance(error, OVERLOADED):
                return None
            try:
                other = await self._catalogue.find(task, name, allowed=allowed)
                if other.key in seen:
                    return None
                prepared = await prepare(other)
            except AppError as refusal:
                log.warning("no_fallback", model=entry.name, fallback=name, reason=refusal.code)
                return None
            prepared.another = self.plan(task, other, prepare, allowed, seen)
            log.warning("fallback", model=entry.name, fallback=other.name, reason=error.code)
            self._told(entry.name, other.name, error.code)
            return prepared

        return another

    def _name_for(self, entry: Entry) -> str | None:
        names = (entry.name, entry.name + entry.extension, *entry.aliases)
        named = next((self._names[name] for name in names if name in self._names), None)
        return named or entry.overrides.get("fallback")


async def run_or_fall_back(
    prepared: Prepared, run: Callable[[Prepared], Awaitable[Outcome]]
) -> Outcome:
    """Raises what the last model ended in."""
    while True:
        try:
            return await run(prepared)
        except AppError as error:
            if not await _took_over(prepared, error):
                raise


async def stream_or_fall_back(
    prepared: Prepared, stream: Callable[[Prepared], AsyncGenerator[Event | Outcome, None]]
) -> AsyncGenerator[Event | Outcome, None]:
    """The same, until there is something of the result: what was sent cannot be taken back."""
    has_begun = False
    while True:
        try:
            async with contextlib.aclosing(stream(prepared)) as events:
                async for event in events:
                    has_begun = has_begun or isinstance(event, Delta)
                    yield event
            return
        except AppError as error:
            if has_begun or not await _took_over(prepared, error):
                raise


async def _took_over(prepared: Prepared, error: AppError) -> bool:
    """Whether another model has the request now: `prepared` is for that one then."""
    other = None if prepared.another is None else await prepared.another(error)
    if other is None:
        return False
    prepared.become(other)
    structlog.contextvars.bind_contextvars(model=other.entry.name)
    _TAKEN.set(other.entry.name)
    return True
