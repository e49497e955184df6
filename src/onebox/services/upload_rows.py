"""Uploaded files as rows: what the threads of the database do for `Uploads`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select

from onebox.core.errors import FileNotFound
from onebox.services.database import Order
from onebox.services.tables import UPLOADED_FILES

_files = UPLOADED_FILES.c


@dataclass(frozen=True, slots=True)
class Upload:
    """One file. Times are seconds since 1970; `filename` is what its owner calls it, no path."""

    id: str
    caller: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: float
    expires_at: float | None


def add(connection: Connection, upload: Upload) -> None:
    connection.execute(
        insert(UPLOADED_FILES).values(
            id=upload.id,
            caller=upload.caller,
            filename=upload.filename,
            purpose=upload.purpose,
            bytes=upload.size_bytes,
            created_at=upload.created_at,
            expires_at=upload.expires_at,
        )
    )


def load(connection: Connection, file_id: str, caller: str, now: float) -> Upload:
    """Raises FileNotFound, also for one of another caller, or that has expired."""
    wanted = (_files.id == file_id, _files.caller == caller, _is_current(now))
    row = connection.execute(select(UPLOADED_FILES).where(*wanted)).one_or_none()
    if row is None:
        raise not_found(file_id)
    return _upload(row)


def page(
    connection: Connection,
    caller: str,
    now: float,
    *,
    purpose: str | None,
    after: str | None,
    limit: int,
    order: Order,
) -> list[Upload]:
    """See `Uploads.page`."""
    wanted = [_files.caller == caller, _is_current(now)]
    if purpose is not None:
        wanted.append(_files.purpose == purpose)
    # Ids sort by time.
    if after is not None:
        wanted.append(_files.id > after if order == "asc" else _files.id < after)
    sorting = _files.id.asc() if order == "asc" else _files.id.desc()
    query = select(UPLOADED_FILES).where(*wanted).order_by(sorting).limit(limit)
    return [_upload(row) for row in connection.execute(query)]


def remove(connection: Connection, file_id: str, caller: str, now: float) -> None:
    """Raises as `load` does."""
    load(connection, file_id, caller, now)
    connection.execute(delete(UPLOADED_FILES).where(_files.id == file_id))


def remove_expired(connection: Connection, now: float) -> Sequence[str]:
    """Their ids."""
    old = delete(UPLOADED_FILES).where(_files.expires_at <= now).returning(_files.id)
    return connection.scalars(old).all()


def all_ids(connection: Connection) -> set[str]:
    return set(connection.scalars(select(_files.id)))


def total_bytes(connection: Connection) -> int:
    return int(connection.scalar(select(func.coalesce(func.sum(_files.bytes), 0))) or 0)


def not_found(file_id: str) -> FileNotFound:
    return FileNotFound(f"no file {file_id[:64]}", param="file_id")


def _is_current(now: float) -> ColumnElement[bool]:
    return or_(_files.expires_at.is_(None), _files.expires_at > now)


def _upload(row: Any) -> Upload:
    return Upload(
        id=row.id,
        caller=row.caller,
        filename=row.filename,
        purpose=row.purpose,
        size_bytes=row.bytes,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
