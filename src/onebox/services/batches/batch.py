"""`Batch`: many requests of one file, as its row holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from onebox.core.errors import RequestNotFound
from onebox.services.access.caller import Allowance

PREFIX = "batch"
State = Literal[
    "validating",
    "in_progress",
    "finalizing",
    "cancelling",
    "completed",
    "failed",
    "expired",
    "cancelled",
]
ACTIVE: tuple[State, ...] = ("validating", "in_progress", "finalizing", "cancelling")


class BatchNotFound(RequestNotFound):
    code = "batch_not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Times are seconds since 1970.

    Attributes:
        completion_window: as the client wrote it; `expires_at` is when it ends.
        output_file_id, error_file_id: of what was answered, and of what went wrong.
        total: its requests, known once the file was read.
        completed, failed: those of them that ended so.
        times: when it came into a state, by "<state>_at".
        errors: why nothing of the file could be used: {"code", "message", "param", "line"} each.
        output_lifetime_s: seconds that its files are kept; None for the server's time.
        allowance: what its caller could take when it was made, if that was bounded; that of a
            stored key is looked up.
        owner: the server that carries it out and has its files; None where there is only one.
    """

    id: str
    caller: str
    endpoint: str
    completion_window: str
    input_file_id: str
    state: State
    created_at: float
    expires_at: float
    output_file_id: str | None = None
    error_file_id: str | None = None
    total: int = 0
    completed: int = 0
    failed: int = 0
    times: dict[str, float]
    metadata: dict[str, str] | None = None
    errors: list[dict[str, Any]] | None = None
    output_lifetime_s: int | None = None
    allowance: Allowance | None = None
    owner: str | None = None
