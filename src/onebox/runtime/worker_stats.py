"""What a worker tells of itself with each heartbeat."""

from __future__ import annotations

from typing import Literal

import msgspec


class BundleStats(msgspec.Struct, frozen=True):
    """`reserved_bytes` is working memory of the requests that hold its leases."""

    key: str
    name: str
    family: str
    state: Literal["loading", "ready", "leaving"]
    size_bytes: int
    reserved_bytes: int
    leases: int
    pinned: bool


class WorkerStats(msgspec.Struct, frozen=True):
    """A worker's state, sent with each heartbeat.

    Attributes:
        budget_bytes: its share of the memory pool.
        returned_bytes: what all unloads so far gave back, as measured.
        leaked_bytes: what they did not, as last measured.
        wants_restart: why it should be restarted when nothing runs, if it should.
        failure: why nothing can run in it any more, if that is so.
    """

    bundles: tuple[BundleStats, ...]
    waiting: int
    running: int
    budget_bytes: int
    device_used_bytes: int
    device_free_bytes: int
    resident_bytes: int
    returned_bytes: int = 0
    leaked_bytes: int = 0
    wants_restart: str | None = None
    failure: str | None = None
