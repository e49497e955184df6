"""Stored keys as rows: what the threads of the database do for `Keys`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, and_, bindparam, func, insert, or_, select, update

from onebox.core.errors import KeyNotFound
from onebox.services.access.caller import SCOPES, Allowance
from onebox.services.database import Order
from onebox.services.tables import API_KEY_CHANGES, API_KEYS

_keys = API_KEYS.c
# Made here, for threads may not be the first to decode a dataclass (core/structs.py).
_allowance = msgspec.json.Decoder(Allowance)


@dataclass(frozen=True, slots=True)
class StoredKey:
    """One key, without its secret. Times are seconds since 1970.

    Attributes:
        prefix: the beginning of the secret, to be shown.
        digest: SHA-256 of the secret, in hex; that of the secret before it (`previous_digest`)
            counts until `previous_until`.
        change: the count of changes to all keys at this one's last change.
    """

    id: str
    name: str
    prefix: str
    digest: str
    scopes: frozenset[str]
    allowance: Allowance
    created_at: float
    previous_digest: str | None = None
    previous_until: float | None = None
    expires_at: float | None = None
    revoked_at: float | None = None
    last_used_at: float | None = None
    change: int = 0

    def state(self, now: float) -> Literal["active", "expired", "revoked"]:
        """At a time in seconds since 1970."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "active"


def add(connection: Connection, key: StoredKey) -> StoredKey:
    """The key as it is stored."""
    change = _next_change(connection)
    connection.execute(insert(API_KEYS).values(id=key.id, change=change, **_columns(key)))
    return load(connection, key.id)


def replace(connection: Connection, key: StoredKey) -> StoredKey:
    """Store a changed key. When it was last used is not among what changes here."""
    values = {**_columns(key), "change": _next_change(connection)}
    del values["last_used_at"]
    connection.execute(update(API_KEYS).where(_keys.id == key.id).values(values))
    return load(connection, key.id)


def load(connection: Connection, key_id: str) -> StoredKey:
    """Raises KeyNotFound."""
    row = connection.execute(select(API_KEYS).where(_keys.id == key_id)).one_or_none()
    if row is None:
        raise not_found(key_id)
    return _key(row)


def load_to_change(connection: Connection, key_id: str) -> StoredKey:
    """The same, and nobody else changes a key before the transaction ends. Raises KeyNotFound."""
    _lock(connection)
    return load(connection, key_id)


def page(connection: Connection, *, after: str | None, limit: int, order: Order) -> list[StoredKey]:
    """By age. `after` is the id of the one before them."""
    query = select(API_KEYS).limit(limit)
    # Ids sort by time.
    if after is not None:
        query = query.where(_keys.id > after if order == "asc" else _keys.id < after)
    query = query.order_by(_keys.id.asc() if order == "asc" else _keys.id.desc())
    return [_key(row) for row in connection.execute(query)]


def changed_after(connection: Connection, change: int) -> list[StoredKey]:
    """What was changed since that count of changes; all of -1."""
    query = select(API_KEYS).where(_keys.change > change)
    return [_key(row) for row in connection.execute(query)]


def count_of_changes(connection: Connection) -> int:
    return int(connection.scalar(select(API_KEY_CHANGES.c.count)) or 0)


def is_any_usable(connection: Connection, now: float) -> bool:
    """Whether somebody can come in with a stored key."""
    usable = and_(
        _keys.revoked_at.is_(None), or_(_keys.expires_at.is_(None), _keys.expires_at > now)
    )
    return connection.scalar(select(_keys.id).where(usable).limit(1)) is not None


def note_uses(connection: Connection, used: Mapping[str, float]) -> None:
    """When keys were last used, by id; other servers may know of a later use."""
    known = func.coalesce(_keys.last_used_at, 0.0)
    statement = (
        update(API_KEYS)
        .where(_keys.id == bindparam("used_id"), known < bindparam("used_at"))
        .values(last_used_at=bindparam("used_at"))
    )
    rows = [{"used_id": key_id, "used_at": at} for key_id, at in used.items()]
    connection.execute(statement, rows)


def not_found(key_id: str) -> KeyNotFound:
    return KeyNotFound(f"no key {key_id[:64]}", param="key_id")


def _lock(connection: Connection) -> None:
    """Hold the row of the count, which all changes of keys take turns at."""
    connection.execute(update(API_KEY_CHANGES).values(count=API_KEY_CHANGES.c.count))


def _next_change(connection: Connection) -> int:
    """The count with one more. Its row stays held until the transaction ends: who reads a count
    then also finds all that was counted before it.
    """
    connection.execute(update(API_KEY_CHANGES).values(count=API_KEY_CHANGES.c.count + 1))
    return count_of_changes(connection)


def _columns(key: StoredKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "prefix": key.prefix,
        "digest": key.digest,
        "previous_digest": key.previous_digest,
        "previous_until": key.previous_until,
        "scopes": " ".join(sorted(key.scopes)),
        "allowance": msgspec.json.encode(key.allowance),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at,
    }


def _key(row: Any) -> StoredKey:
    return StoredKey(
        id=row.id,
        name=row.name,
        prefix=row.prefix,
        digest=row.digest,
        scopes=SCOPES & frozenset(row.scopes.split()),
        allowance=_allowance.decode(row.allowance),
        created_at=row.created_at,
        previous_digest=row.previous_digest,
        previous_until=row.previous_until,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
        change=row.change,
    )
