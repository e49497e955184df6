"""The live sessions that are open now: how many there may be, and their end at shutdown."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from onebox.core.errors import ConcurrencyLimited, QueueFull, ShuttingDown

# Each holds up to 3 MB of sound.
MAX_SESSIONS = 256
RETRY_S = 30.0
# To say goodbye at shutdown.
LEAVE_S = 2.0


class LiveSession:
    """One open session.

    Attributes:
        caller: the id of whose it is.
        told_to_leave: set when the server shuts down.
        gone: set when it has ended.
    """

    __slots__ = ("caller", "gone", "told_to_leave")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.told_to_leave = asyncio.Event()
        self.gone = asyncio.Event()


class LiveSessions:
    """Owns the list of them. Lives on the gateway's event loop."""

    def __init__(self, *, max_per_caller: int | None, max_sessions: int = MAX_SESSIONS) -> None:
        self._max_per_caller = max_per_caller
        self._max_sessions = max_sessions
        self._sessions: set[LiveSession] = set()
        self._is_closing = False

    @contextlib.contextmanager
    def enter(self, caller: str, most: int | None = None) -> Iterator[LiveSession]:
        """One more. Raises ConcurrencyLimited, QueueFull, ShuttingDown.

        `most` is how many its caller may have, where that is not as for all others.
        """
        self._check(caller, self._max_per_caller if most is None else most)
        session = LiveSession(caller)
        self._sessions.add(session)
        try:
            yield session
        finally:
            self._sessions.discard(session)
            session.gone.set()

    async def close(self) -> None:
        """Tell all to leave, and wait for it, but not for ever. No more may come."""
        self._is_closing = True
        leaving = list(self._sessions)
        for session in leaving:
            session.told_to_leave.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                for session in leaving:
                    await session.gone.wait()

    def __len__(self) -> int:
        return len(self._sessions)

    def _check(self, caller: str, limit: int | None) -> None:
        if self._is_closing:
            raise ShuttingDown("the server is shutting down; connect again in a while")
        if len(self._sessions) >= self._max_sessions:
            raise QueueFull(
                f"{len(self._sessions)} live sessions are open, at most {self._max_sessions} may; "
                "try again later",
                details={"sessions": len(self._sessions), "max": self._max_sessions},
                retry_after_s=RETRY_S,
            )
        own = sum(session.caller == caller for session in self._sessions)
        if limit is not None and own >= limit:
            raise ConcurrencyLimited(
                f"you have {own} live sessions, at most {limit} are allowed; close one first",
                details={"sessions": own, "max": limit},
                retry_after_s=RETRY_S,
            )
