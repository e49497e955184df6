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

from onebox.core.usage_units import UNITS

# Names that a later migration can rely on, whatever the database would have called them.
NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
METADATA = MetaData(naming_convention=NAMES)

# One row a stored response. Times are seconds since 1970; `body` is the response as JSON, without
# its output; `used_at` is when it or a response that continues it was made; `owner` is as of jobs.
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
    Column("owner", String(64)),
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

# One row a job (services/jobs/job.py). `sequence` is what follows the kind in its id: jobs of all
# kinds sort by it. `seq` counts its changes of state; `idempotency` is a digest of the client's
# key; `size_bytes` counts its files too. `work` comes late: it may be long, and lists leave it out.
# `owner` is the server that it is for, where several share the database (services/owner.py).
JOBS = Table(
    "jobs",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("sequence", String(32), nullable=False),
    Column("caller", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("surface", String(16), nullable=False),
    Column("group_id", String(64)),
    Column("position", Integer, nullable=False),
    Column("task", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("model_sha256", String(64)),
    Column("priority", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("seq", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lost", Integer, nullable=False),
    Column("fence", String(64)),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("expires_at", Double),
    Column("timeout_s", Double),
    Column("size_bytes", BigInteger, nullable=False),
    Column("idempotency", String(64)),
    Column("fingerprint", String(64)),
    Column("webhook_url", Text),
    Column("webhook_events", LargeBinary, nullable=False),
    Column("error", LargeBinary),
    Column("blobs", LargeBinary, nullable=False),
    Column("artifacts", LargeBinary, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("work", LargeBinary, nullable=False),
    Column("owner", String(64)),
    Index(None, "sequence", unique=True),
    Index(None, "caller", "sequence"),
    Index(None, "caller", "surface", "sequence"),
    Index(None, "group_id", "caller", "sequence"),
    Index(None, "state", "size_bytes"),
    Index(None, "expires_at"),
    Index(None, "caller", "idempotency", unique=True),
)
# The changes of a job's state, counted from 2: that it was queued, its own row says. `error` is
# JSON.
JOB_EVENTS = Table(
    "job_events",
    METADATA,
    Column("job_id", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("type", String(16), nullable=False),
    Column("at", Double, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("error", LargeBinary),
)
# What is to be told to the outside. `host` is that of the URL, with its port; `subject_id` names
# what it is about, which may be gone; `next_at` is when it is tried again, and nothing once `state`
# is an end, which was at `ended_at`; the last attempt got an answer (`last_status`) or none
# (`last_error`).
WEBHOOK_DELIVERIES = Table(
    "webhook_deliveries",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("url", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("event_type", String(64), nullable=False),
    Column("subject_id", String(64), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", Double),
    Column("created_at", Double, nullable=False),
    Column("ended_at", Double),
    Column("last_status", Integer),
    Column("last_error", Text),
    Index(None, "state", "host", "next_at"),
    Index(None, "ended_at"),
    Index(None, "subject_id"),
)
# Files that clients uploaded, or that batches made; their bytes are in the data folder.
UPLOADED_FILES = Table(
    "uploaded_files",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("caller", Text, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String(64), nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Index(None, "caller", "id"),
    Index(None, "expires_at"),
)
# One row a batch; its lines are jobs. `times`, `metadata`, `errors` and `allowance` are JSON.
BATCHES = Table(
    "batches",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("caller", Text, nullable=False),
    Column("endpoint", String(128), nullable=False),
    Column("completion_window", String(16), nullable=False),
    Column("input_file_id", String(64), nullable=False),
    Column("output_file_id", String(64)),
    Column("error_file_id", String(64)),
    Column("state", String(16), nullable=False),
    Column("total", Integer, nullable=False),
    Column("completed", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("times", LargeBinary, nullable=False),
    Column("metadata", LargeBinary),
    Column("errors", LargeBinary),
    Column("output_lifetime_s", Integer),
    Column("allowance", LargeBinary),
    Column("owner", String(64)),
    Index(None, "caller", "id"),
    Index(None, "state"),
)
# One row a server that shares the database with others; it lives as long as `beat` goes up.
SERVERS = Table(
    "servers",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("beat", BigInteger, nullable=False),
)

# One row a key that an operator made. Only digests (SHA-256, hex) of what clients send are kept;
# `prefix` is its beginning, to be shown; the previous one works until `previous_until`. `allowance`
# is JSON (access/caller.py). `change` is the count of changes to all keys at its last one.
API_KEYS = Table(
    "api_keys",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("name", Text, nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("previous_digest", String(64)),
    Column("previous_until", Double),
    Column("scopes", Text, nullable=False),
    Column("allowance", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Column("change", BigInteger, nullable=False),
    Index(None, "digest", unique=True),
    Index(None, "change"),
)
# One row: by its count a server sees that another process has changed a key.
API_KEY_CHANGES = Table(
    "api_key_changes",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("count", BigInteger, nullable=False),
)

# One row a request that ended (usage/usage.py). Ids sort by time.
USAGE = Table(
    "usage",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("day", String(10), nullable=False),
    Column("caller", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("job_id", String(64)),
    *(Column(unit, Double, nullable=False) for unit in UNITS),
    Index(None, "at"),
    Index(None, "caller", "id"),
)
# The same summed up, which stays when the rows go; `status` is "ok", "cancelled" or "failed", and
# `ended` counts all rows.
USAGE_DAYS = Table(
    "usage_days",
    METADATA,
    Column("day", String(10), primary_key=True),
    Column("caller", Text, primary_key=True),
    Column("task", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("status", String(16), primary_key=True),
    Column("ended", BigInteger, nullable=False),
    *(Column(unit, Double, nullable=False) for unit in UNITS),
    Index(None, "caller", "day"),
    # The rows of a month lie together.
    sqlite_with_rowid=False,
)
# What is left for callers that may not use the server without; and what an operator gave and set.
# What was charged stands in `usage`.
CREDITS = Table(
    "credits",
    METADATA,
    Column("caller", Text, primary_key=True),
    Column("balance", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
)
CREDIT_CHANGES = Table(
    "credit_changes",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("caller", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("amount", Double),
    Column("balance", Double),
    Index(None, "caller", "id"),
)
