"""The tables of `onebox.db` as they are now. How they came to be is in `migrations/versions/`."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

# Names that a later migration can rely on, whatever the database would have called them.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA = MetaData(naming_convention=NAMES)

# One row a stored response. Times are seconds since 1970; `body` is the response as JSON, without
# its output; `used_at` is when it or a response that continues it was made.
RESPONSES = Table(
    "responses",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("caller", Text, nullable=False),
    Column("status", String(16), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False),
    Column("previous_id", String(64)),
    Column("size_bytes", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index(None, "used_at"),
    Index(None, "caller", "used_at"),
)
# What went into a response and what came out of it, as JSON. A client may send an item again, so
# its id is not unique.
RESPONSE_ITEMS = Table(
    "response_items",
    METADATA,
    Column(
        "response_id", String(64), ForeignKey("responses.id", ondelete="CASCADE"), primary_key=True
    ),
    Column("position", Integer, primary_key=True),
    Column("is_output", Boolean, nullable=False),
    Column("item_id", String(128), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index(None, "item_id"),
)
