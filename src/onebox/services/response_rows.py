"""Stored responses as rows: what the threads of the database do for `ResponseStore`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.engine import Row

from onebox.core.errors import InvalidInput, RequestNotFound
from onebox.services.tables import RESPONSE_ITEMS, RESPONSES

Item = dict[str, Any]

MAX_TURNS = 2048
MAX_BYTES = 64 * 1024 * 1024
# How many are deleted at a time.
CHUNK = 64
UNFINISHED = ("queued", "in_progress")
# What may be continued: whole turns.
WHOLE = ("completed", "incomplete")
RESTARTED = {
    "code": "server_error",
    "type": "server_restarted",
    "message": "the server stopped before this response was done; send it again",
    "param": None,
}


class ResponseNotFound(RequestNotFound):
    code = "response_not_found"


class PreviousResponseNotFound(InvalidInput):
    code = "previous_response_not_found"


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """One response.

    Attributes:
        body: the object that clients see, without its output.
        input: the items that it added to the conversation.
    """

    id: str
    caller: str
    status: str
    created_at: float
    previous_id: str | None
    body: dict[str, Any]
    input: tuple[Item, ...]
    output: tuple[Item, ...] = ()

    def public(self) -> dict[str, Any]:
        return {**self.body, "output": list(self.output)}


@dataclass(frozen=True, slots=True)
class Conversation:
    """What a response continues: the items of all turns before it, and the turns' ids."""

    items: tuple[Item, ...] = ()
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rows:
    """A response as its rows hold it."""

    body: bytes
    items: list[dict[str, Any]]
    size_bytes: int

    @classmethod
    def of(cls, response: StoredResponse) -> Rows:
        body = msgspec.json.encode(response.body)
        items = [
            {
                "response_id": response.id,
                "position": position,
                "is_output": position >= len(response.input),
                "item_id": item["id"],
                "body": msgspec.json.encode(item),
            }
            for position, item in enumerate((*response.input, *response.output))
        ]
        return cls(body, items, len(body) + sum(len(row["body"]) for row in items))


def add(
    connection: Connection,
    response: StoredResponse,
    rows: Rows,
    chain: Sequence[str],
    now: float,
    owner: str | None = None,
) -> None:
    """Store a new one of a server; those that it continues are as young as it from now on."""
    connection.execute(
        insert(RESPONSES).values(
            id=response.id,
            caller=response.caller,
            status=response.status,
            created_at=response.created_at,
            used_at=now,
            previous_id=response.previous_id,
            size_bytes=rows.size_bytes,
            body=rows.body,
            owner=owner,
        )
    )
    if rows.items:
        connection.execute(insert(RESPONSE_ITEMS), rows.items)
    if chain:
        touched = RESPONSES.c.id.in_(chain)
        connection.execute(update(RESPONSES).where(touched).values(used_at=now))


def replace(connection: Connection, response: StoredResponse, rows: Rows) -> None:
    """Status, body and output; nothing when it was deleted meanwhile."""
    changed = connection.execute(
        update(RESPONSES)
        .where(RESPONSES.c.id == response.id)
        .values(status=response.status, size_bytes=rows.size_bytes, body=rows.body)
    )
    if not changed.rowcount:
        return
    of_it = RESPONSE_ITEMS.c.response_id == response.id
    connection.execute(delete(RESPONSE_ITEMS).where(of_it, RESPONSE_ITEMS.c.is_output))
    output = [row for row in rows.items if row["is_output"]]
    if output:
        connection.execute(insert(RESPONSE_ITEMS), output)


def load(connection: Connection, response_id: str, caller: str) -> StoredResponse:
    """Raises ResponseNotFound."""
    return _stored(connection, _require(connection, response_id, caller))


def _require(connection: Connection, response_id: str, caller: str) -> Row[Any]:
    row = _row(connection, response_id, caller)
    if row is None:
        raise ResponseNotFound(
            f"Response with id '{response_id[:64]}' not found.", param="response_id"
        )
    return row


def _row(connection: Connection, response_id: str, caller: str) -> Row[Any] | None:
    if "\0" in response_id:
        return None  # PostgreSQL has no such texts, and says so.
    own = (RESPONSES.c.id == response_id, RESPONSES.c.caller == caller)
    return connection.execute(select(RESPONSES).where(*own)).first()


def _stored(connection: Connection, row: Row[Any]) -> StoredResponse:
    of_it = RESPONSE_ITEMS.c.response_id == row.id
    found = connection.execute(
        select(RESPONSE_ITEMS.c.is_output, RESPONSE_ITEMS.c.body)
        .where(of_it)
        .order_by(RESPONSE_ITEMS.c.position)
    ).all()
    return StoredResponse(
        id=row.id,
        caller=row.caller,
        status=row.status,
        created_at=row.created_at,
        previous_id=row.previous_id,
        body=msgspec.json.decode(row.body),
        input=tuple(msgspec.json.decode(item.body) for item in found if not item.is_output),
        output=tuple(msgspec.json.decode(item.body) for item in found if item.is_output),
    )


def remove(connection: Connection, response_id: str, caller: str) -> None:
    _require(connection, response_id, caller)
    connection.execute(delete(RESPONSES).where(RESPONSES.c.id == response_id))


def remove_unused(connection: Connection, before: float) -> None:
    """Those that were last used before a time."""
    connection.execute(delete(RESPONSES).where(RESPONSES.c.used_at < before))


def total_bytes(connection: Connection) -> int:
    """Reads the whole table."""
    return int(connection.execute(select(func.sum(RESPONSES.c.size_bytes))).scalar() or 0)


def find_item(connection: Connection, item_id: str, caller: str) -> Item | None:
    if "\0" in item_id:
        return None
    body = connection.execute(
        select(RESPONSE_ITEMS.c.body)
        .join(RESPONSES, RESPONSES.c.id == RESPONSE_ITEMS.c.response_id)
        .where(RESPONSE_ITEMS.c.item_id == item_id, RESPONSES.c.caller == caller)
        .order_by(RESPONSES.c.created_at.desc())
        .limit(1)
    ).scalar()
    return None if body is None else msgspec.json.decode(body)


def conversation(connection: Connection, response_id: str, caller: str) -> Conversation:
    turns: list[StoredResponse] = []
    size_bytes = 0
    wanted: str | None = response_id
    while wanted is not None:
        row = _row(connection, wanted, caller)
        if row is None:
            raise PreviousResponseNotFound(
                f"Previous response with id '{wanted[:64]}' not found.",
                param="previous_response_id",
            )
        if row.status not in WHOLE:
            raise InvalidInput(
                f"the response {wanted} is {row.status}; only one that was answered can be "
                "continued",
                param="previous_response_id",
                details={"status": row.status},
            )
        if len(turns) >= MAX_TURNS:
            raise InvalidInput(
                f"the conversation has more than {MAX_TURNS} turns; begin a new one",
                param="previous_response_id",
                details={"max": MAX_TURNS},
            )
        size_bytes += row.size_bytes
        if size_bytes > MAX_BYTES:
            raise InvalidInput(
                f"the conversation takes more than {MAX_BYTES} bytes; begin a new one",
                param="previous_response_id",
                details={"max_bytes": MAX_BYTES},
            )
        turns.append(_stored(connection, row))
        wanted = row.previous_id
    return _joined(turns)


def input_items(connection: Connection, response_id: str, caller: str) -> list[Item]:
    newest = load(connection, response_id, caller)
    turns: list[StoredResponse] = []
    wanted = newest.previous_id
    while wanted is not None and len(turns) < MAX_TURNS:
        row = _row(connection, wanted, caller)
        if row is None:
            break
        turns.append(_stored(connection, row))
        wanted = row.previous_id
    return [*_joined(turns).items, *newest.input]


def _joined(turns: Iterable[StoredResponse]) -> Conversation:
    """Of turns, newest first."""
    ordered = tuple(turns)[::-1]
    items = tuple(item for turn in ordered for item in (*turn.input, *turn.output))
    return Conversation(items, tuple(turn.id for turn in ordered))


def evict(connection: Connection, excess_bytes: int) -> None:
    """Delete at least so many bytes of responses."""
    size = func.sum(RESPONSES.c.size_bytes)
    while excess_bytes > 0:
        caller = connection.execute(
            select(RESPONSES.c.caller).group_by(RESPONSES.c.caller).order_by(size.desc()).limit(1)
        ).scalar()
        oldest = connection.execute(
            select(RESPONSES.c.id, RESPONSES.c.size_bytes)
            .where(RESPONSES.c.caller == caller)
            .order_by(RESPONSES.c.used_at, RESPONSES.c.created_at)
            .limit(CHUNK)
        ).all()
        if not oldest:
            return
        gone = []
        for row in oldest:
            if excess_bytes > 0:
                gone.append(row.id)
                excess_bytes -= row.size_bytes
        connection.execute(delete(RESPONSES).where(RESPONSES.c.id.in_(gone)))


def fail_unfinished(connection: Connection, owner: str | None = None) -> None:
    """Of a server, or of all; those from before servers had names are anybody's."""
    wanted: list[Any] = [RESPONSES.c.status.in_(UNFINISHED)]
    if owner is not None:
        wanted.append(or_(RESPONSES.c.owner == owner, RESPONSES.c.owner.is_(None)))
    unfinished = connection.execute(select(RESPONSES.c.id, RESPONSES.c.body).where(*wanted)).all()
    for row in unfinished:
        body = {**msgspec.json.decode(row.body), "status": "failed", "error": RESTARTED}
        connection.execute(
            update(RESPONSES)
            .where(RESPONSES.c.id == row.id)
            .values(status="failed", body=msgspec.json.encode(body))
        )
