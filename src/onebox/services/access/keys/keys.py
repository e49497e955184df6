"""`Keys`: the keys that an operator makes, in the database and, to be found at once, in memory."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog
from sqlalchemy import Connection

from onebox.core.errors import InvalidInput
from onebox.core.units import DAY_S
from onebox.services.access.caller import SCOPES, UNLIMITED, Allowance
from onebox.services.access.keys import rows as key_rows
from onebox.services.access.keys.index import KeyIndex, digest_of
from onebox.services.access.keys.rows import StoredKey
from onebox.services.database import Database, Order
from onebox.services.jobs.ids import is_id, new_id
from onebox.services.loops import stop_loop

log = structlog.get_logger(__name__)

PREFIX = "key"
SECRET_PREFIX = "ob-"
SECRET_BYTES = 32
# Of a secret, what is stored and shown: the prefix and 8 characters of 43.
SHOWN_CHARS = 11
# How long a change by another process stays unseen.
LOOK_EVERY_S = 1.0
USE_EVERY_S = 60.0
MAX_NAME_CHARS = 128
# Of a secret that was replaced.
GRACE_S = DAY_S
MAX_GRACE_S = 30 * DAY_S


class Keys:
    """Stored keys. Lives on the gateway's event loop; what others change is seen within a second.

    Args:
        clock: seconds since 1970.

    Attributes:
        index: whose a secret is.
    """

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self.index = KeyIndex(clock)
        self._change = -1
        self._task: asyncio.Task[None] | None = None

    def load(self) -> None:
        """All of them, in the calling thread; call once before the event loop runs."""
        self._take(*self._database.write_now(self._changed))

    async def start(self) -> None:
        """From now on see what others change, and note which keys are used."""
        self._task = asyncio.create_task(self._run(), name="keys")

    async def close(self) -> None:
        """Note the last uses."""
        if self._task is not None:
            await stop_loop(self._task)
            await self._note_uses(every_s=0.0)

    async def create(
        self,
        name: str,
        *,
        scopes: Iterable[str] = ("infer",),
        allowance: Allowance = UNLIMITED,
        expires_at: float | None = None,
    ) -> tuple[StoredKey, str]:
        """A new key and its secret, which nobody can show again. Raises InvalidInput."""
        now = self._clock()
        secret = _new_secret()
        key = StoredKey(
            id=new_id(PREFIX),
            name=_checked_name(name),
            prefix=secret[:SHOWN_CHARS],
            digest=digest_of(secret),
            scopes=_checked_scopes(scopes),
            allowance=allowance,
            created_at=now,
            expires_at=_checked_end(expires_at, now),
        )
        return await self._write(lambda c: key_rows.add(c, key)), secret

    async def update(self, key_id: str, changes: Mapping[str, Any]) -> StoredKey:
        """Change name, scopes, expires_at, or fields of the allowance; the secret stays.

        Raises KeyNotFound, InvalidInput.
        """
        own = {name: value for name, value in changes.items() if name in ("name", "expires_at")}
        if "name" in own:
            own["name"] = _checked_name(own["name"])
        if "expires_at" in own:
            own["expires_at"] = _checked_end(own["expires_at"], self._clock())
        if "scopes" in changes:
            own["scopes"] = _checked_scopes(changes["scopes"])
        fields = {field.name for field in dataclasses.fields(Allowance)}
        allowed = {name: value for name, value in changes.items() if name in fields}

        def change(key: StoredKey) -> StoredKey:
            allowance = dataclasses.replace(key.allowance, **allowed)
            return dataclasses.replace(key, **own, allowance=allowance)

        return await self._change_one(key_id, change)

    async def rotate(self, key_id: str, *, grace_s: float) -> tuple[StoredKey, str]:
        """A new secret; the one before it works for so long. Who sends it stays the same caller.

        A secret that was replaced earlier ends now. Raises KeyNotFound, InvalidInput for one that
        was revoked or has expired.
        """
        now, secret = self._clock(), _new_secret()

        def change(key: StoredKey) -> StoredKey:
            if key.state(now) != "active":
                raise InvalidInput(
                    f"{key.id} was revoked or has expired; create a new key", param="key_id"
                )
            return dataclasses.replace(
                key,
                prefix=secret[:SHOWN_CHARS],
                digest=digest_of(secret),
                previous_digest=key.digest if grace_s > 0 else None,
                previous_until=now + grace_s if grace_s > 0 else None,
            )

        return await self._change_one(key_id, change), secret

    async def revoke(self, key_id: str) -> StoredKey:
        """Its secrets end now and for ever. One that was revoked before stays as it is.

        Raises KeyNotFound.
        """
        now = self._clock()
        return await self._change_one(
            key_id,
            lambda key: dataclasses.replace(
                key,
                revoked_at=now if key.revoked_at is None else key.revoked_at,
                previous_digest=None,
                previous_until=None,
            ),
        )

    async def get(self, key_id: str) -> StoredKey:
        """Raises KeyNotFound, also for what is no id."""
        _check_id(key_id)
        return self.index.with_use(await self._database.read(lambda c: key_rows.load(c, key_id)))

    async def page(
        self, *, after: str | None = None, limit: int, order: Order = "desc"
    ) -> tuple[list[StoredKey], bool]:
        """Keys that come after one of them, and whether there are more.

        Raises InvalidInput for what is no id.
        """
        if after is not None and not is_id(after, PREFIX):
            raise InvalidInput("after is not the id of a key", param="after")
        found = await self._database.read(
            lambda c: key_rows.page(c, after=after, limit=limit + 1, order=order)
        )
        return [self.index.with_use(key) for key in found[:limit]], len(found) > limit

    async def refresh(self) -> None:
        """See what other processes changed."""
        if await self._database.read(key_rows.count_of_changes) != self._change:
            self._take(*await self._database.read(self._changed))

    async def _change_one(self, key_id: str, change: Callable[[StoredKey], StoredKey]) -> StoredKey:
        _check_id(key_id)

        def work(connection: Connection) -> StoredKey:
            return key_rows.replace(connection, change(key_rows.load_to_change(connection, key_id)))

        return self.index.with_use(await self._write(work))

    async def _write(self, work: Callable[[Connection], StoredKey]) -> StoredKey:
        key = await self._database.write(work)
        self.index.put(key)
        return key

    def _changed(self, connection: Connection) -> tuple[int, list[StoredKey]]:
        # The count first: what is changed between the two is read again the next time.
        count = key_rows.count_of_changes(connection)
        return count, key_rows.changed_after(connection, self._change)

    def _take(self, change: int, keys: Iterable[StoredKey]) -> None:
        self._change = change
        for key in keys:
            self.index.put(key)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                await self.refresh()
                await self._note_uses(every_s=USE_EVERY_S)
            except Exception as error:
                # Databases have bad moments; what is known stays known meanwhile.
                log.error("keys_not_refreshed", exc_info=error)

    async def _note_uses(self, *, every_s: float) -> None:
        """Write down the uses of keys of which none was written in so long."""
        due = self.index.unnoted_uses(every_s)
        if due:
            await self._database.write(lambda c: key_rows.note_uses(c, due))
            self.index.noted(due)


def is_any_usable(database: Database) -> bool:
    """Whether anybody can come in with a stored key. In the calling thread."""
    now = time.time()
    return database.write_now(lambda connection: key_rows.is_any_usable(connection, now))


def _new_secret() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def _check_id(key_id: str) -> None:
    if not is_id(key_id, PREFIX):
        raise key_rows.not_found(key_id)


def _checked_name(name: str) -> str:
    if not 0 < len(name) <= MAX_NAME_CHARS or not name.isprintable():
        raise InvalidInput(
            f"name must have 1 to {MAX_NAME_CHARS} characters that can be shown", param="name"
        )
    return name


def _checked_scopes(scopes: Iterable[str]) -> frozenset[str]:
    given = frozenset(scopes)
    if not given or given - SCOPES:
        raise InvalidInput(f"scopes must be some of {', '.join(sorted(SCOPES))}", param="scopes")
    return given


def _checked_end(expires_at: float | None, now: float) -> float | None:
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expires_at must be in the future", param="expires_at")
    return expires_at
