"""Which server a response, a job and a batch belong to, and which servers live."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("responses", sa.Column("owner", sa.String(64)))
    op.add_column("jobs", sa.Column("owner", sa.String(64)))
    op.add_column("batches", sa.Column("owner", sa.String(64)))
    op.create_table(
        "servers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("beat", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_servers"),
    )
