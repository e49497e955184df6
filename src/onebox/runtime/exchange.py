"""`Exchange`: one request at a worker as the gateway sees it: its events, the last one its end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

import structlog

from onebox.runtime.wire import Event, Failed, Load, Result, Stats, Submit, Unload

Request = Submit | Load | Unload | Stats

log = structlog.get_logger(__name__)


class Exchange:
    """Iterate it for the request's events, the last of which is its one Result or Failed.

    An async context manager: leaving it before the end cancels the request. Lives on the event
    loop.

    Args:
        observe: called with each event as it comes in, before it is iterated. What it raises is
            logged, and the event goes on.
        only_end: iterate nothing but the last event.
        leave: called with it when nobody listens any more.
    """

    def __init__(
        self,
        request: Request,
        observe: Callable[[Event], None] | None,
        only_end: bool,
        leave: Callable[[Exchange], None],
    ) -> None:
        self.request = request
        self.ended = False
        self._observe = observe
        self._only_end = only_end
        self._leave = leave
        self._events: deque[Event] = deque()
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._leave(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        while not self._events:
            if self.ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._events.popleft()

    def put(self, event: Event) -> None:
        """Take an event of the worker. After the last one nothing is taken."""
        if self.ended:
            return
        self.ended = isinstance(event, Result | Failed)
        self._tell(event)
        if self.ended or not self._only_end:
            self._events.append(event)
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def _tell(self, event: Event) -> None:
        if self._observe is None:
            return
        try:
            self._observe(event)
        except Exception:
            log.exception("observer_failed", request_id=event.id)

    def unread(self) -> list[Event]:
        """What came in and was not iterated."""
        return list(self._events)
