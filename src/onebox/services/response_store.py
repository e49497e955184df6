"""Responses that clients may come back to, each for the key that made it alone."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection

from onebox.core.settings import Settings
from onebox.core.units import DAY_S
from onebox.services import response_rows
from onebox.services.database import Database
from onebox.services.owner import owner_of
from onebox.services.response_rows import Conversation, Item, Rows, StoredResponse

PURGE_EVERY_S = 3600.0
# When the store is full it is emptied down to this share of its bound.
KEEP = 0.9
# The size of the store is measured again when it has grown by this share of its bound.
MEASURE_AT = 0.01


class ResponseStore:
    """Keeps responses for a time and up to a size.

    A response and all that it continues are as young as its newest turn. When the store is full,
    the oldest go of the caller who holds the most, so that nobody drives out what others keep.

    Args:
        ttl_days: how long after its last use one is kept; 0 for ever.
        max_bytes: of all together, about.
        owner: the server, where several share the database.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        database: Database,
        *,
        ttl_days: float,
        max_bytes: int,
        owner: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._ttl_s = ttl_days * DAY_S
        self._max_bytes = max_bytes
        self._owner = owner
        self._clock = clock
        # Of these two it does no harm when threads of the database lose a change of each other.
        self._purged = float("-inf")
        self._grown_bytes = max_bytes

    def recover(self) -> None:
        """Call once at start: what an earlier server left unfinished has failed."""
        self._database.write_now(lambda it: response_rows.fail_unfinished(it, self._owner))

    async def insert(self, response: StoredResponse, conversation: Conversation) -> None:
        """A new one; returns when it is on the disk."""
        await self._database.write(self._insertion(response, conversation))

    def insert_soon(self, response: StoredResponse, conversation: Conversation) -> None:
        """As `insert`, without waiting for it."""
        self._database.write_soon(self._insertion(response, conversation))

    async def replace(self, response: StoredResponse) -> None:
        """Status, body and output of one that is stored; nothing when it was deleted meanwhile."""
        await self._database.write(self._replacement(response))

    async def get(self, response_id: str, caller: str) -> StoredResponse:
        """Raises ResponseNotFound, also for those of other callers."""
        return await self._database.read(lambda c: response_rows.load(c, response_id, caller))

    async def delete(self, response_id: str, caller: str) -> None:
        """With its items. Raises as `get` does."""
        await self._database.write(lambda c: response_rows.remove(c, response_id, caller))

    async def item(self, item_id: str, caller: str) -> Item | None:
        """The newest item of that id among the caller's responses."""
        return await self._database.read(lambda c: response_rows.find_item(c, item_id, caller))

    async def conversation(self, response_id: str, caller: str) -> Conversation:
        """What a new response continues when this is its previous one.

        Raises PreviousResponseNotFound when it, or one before it, is not stored, and InvalidInput
        when it did not end well, or the turns are too many or too large.
        """
        return await self._database.read(
            lambda c: response_rows.conversation(c, response_id, caller)
        )

    async def input_items(self, response_id: str, caller: str) -> list[Item]:
        """All that went into a response, the turns before it included, oldest first.

        Turns before it that are no longer stored are left out. Raises ResponseNotFound.
        """
        return await self._database.read(
            lambda c: response_rows.input_items(c, response_id, caller)
        )

    def _insertion(
        self, response: StoredResponse, conversation: Conversation
    ) -> Callable[[Connection], None]:
        def insert(connection: Connection) -> None:
            rows, now = Rows.of(response), self._clock()
            response_rows.add(connection, response, rows, conversation.ids, now, self._owner)
            self._bound(connection, now, rows.size_bytes)

        return insert

    def _replacement(self, response: StoredResponse) -> Callable[[Connection], None]:
        def replace(connection: Connection) -> None:
            rows = Rows.of(response)
            response_rows.replace(connection, response, rows)
            self._bound(connection, self._clock(), rows.size_bytes)

        return replace

    def _bound(self, connection: Connection, now: float, added_bytes: int) -> None:
        if self._ttl_s and now - self._purged >= PURGE_EVERY_S:
            self._purged = now
            response_rows.remove_unused(connection, now - self._ttl_s)
        self._grown_bytes += added_bytes
        if self._grown_bytes > self._max_bytes * MEASURE_AT:
            self._grown_bytes = 0
            total = response_rows.total_bytes(connection)
            if total > self._max_bytes:
                response_rows.evict(connection, total - int(self._max_bytes * KEEP))


def create_response_store(settings: Settings, database: Database) -> ResponseStore:
    """What an earlier server left unfinished has failed on return."""
    store = ResponseStore(
        database,
        ttl_days=settings.response_ttl,
        max_bytes=int(settings.response_store),
        owner=owner_of(settings),
    )
    store.recover()
    return store
