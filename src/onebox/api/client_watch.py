"""The watch for clients that leave, so that nothing runs on for nobody."""

from __future__ import annotations

import asyncio
from types import TracebackType

from starlette.types import Message, Receive

from onebox.core.errors import Cancelled


class ClientWatch:
    """A `with` block that is cancelled when the client leaves, and then raises Cancelled.

    It takes the place of `receive` for what runs inside. The watch itself begins with the end of
    the body: before it, whoever reads the body sees the client leave.
    """

    __slots__ = ("_first", "_left", "_receive", "_task", "_watcher")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._first: Message | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._task: asyncio.Task[object] | None = None
        self._left = False

    async def open_body(self) -> None:
        """Take the body's first part, which is all of it as a rule; `receive` gives it again.

        The watch begins the sooner. Raises Cancelled when the client has left.
        """
        self._first = await self._next()

    async def skip_body(self) -> None:
        """For what reads no body: an unread one would keep the watch from beginning."""
        while (await self._next()).get("more_body", False):
            pass

    async def receive(self) -> Message:
        first, self._first = self._first, None
        return first or await self._next()

    @property
    def left(self) -> bool:
        """Whether the client left while this watched."""
        return self._left

    def begin(self) -> None:
        """Watch from now on; `receive` must have no more of the body to give."""
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch())

    def __enter__(self) -> ClientWatch:
        self._task = asyncio.current_task()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._watcher is not None:
            self._watcher.cancel()
        # Somebody else may have cancelled too, and then that goes on.
        if self._left and self._task is not None and self._task.uncancel() == 0:
            raise Cancelled("the client left") from None

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise Cancelled("the client left")
        if not message.get("more_body", False):
            self.begin()
        return message

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left = True
        if self._task is not None:
            self._task.cancel()
