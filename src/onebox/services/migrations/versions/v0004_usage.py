"""What requests took, its sums by day, and credits."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

UNITS = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "pictures",
    "audio_seconds",
    "video_seconds",
    "device_seconds",
    "credits",
)


def upgrade() -> None:
    _create_usage()
    _create_days()
    _create_credits()


def _create_usage() -> None:
    op.create_table(
        "usage",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("job_id", sa.String(64)),
        *(sa.Column(unit, sa.Double, nullable=False) for unit in UNITS),
        sa.PrimaryKeyConstraint("id", name="pk_usage"),
    )
    op.create_index("ix_usage_at", "usage", ["at"])
    op.create_index("ix_usage_caller_id", "usage", ["caller", "id"])


def _create_days() -> None:
    op.create_table(
        "usage_days",
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("ended", sa.BigInteger, nullable=False),
        *(sa.Column(unit, sa.Double, nullable=False) for unit in UNITS),
        sa.PrimaryKeyConstraint("day", "caller", "task", "model", "status", name="pk_usage_days"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_usage_days_caller_day", "usage_days", ["caller", "day"])


def _create_credits() -> None:
    op.create_table(
        "credits",
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("balance", sa.Double, nullable=False),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("caller", name="pk_credits"),
    )
    op.create_table(
        "credit_changes",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("caller", sa.Text, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("amount", sa.Double),
        sa.Column("balance", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_credit_changes"),
    )
    op.create_index("ix_credit_changes_caller_id", "credit_changes", ["caller", "id"])
