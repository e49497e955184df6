"""Checks and sizes of a text request that need the model's facts, not the model."""

from __future__ import annotations

from collections.abc import Collection

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput

# A step's own memory: scores of this many rows in float32, thrice, and what layers hand on.
STEP_ROWS = 64
SCORE_BYTES = 12
LAYER_BYTES = 32 * 1024**2


def step_bytes(entry: Entry) -> int:
    """What a decode step takes beside weights, keys and values; an estimate."""
    return int(entry.facts["vocab"]) * STEP_ROWS * SCORE_BYTES + LAYER_BYTES


def check_token_ids(ids: Collection[int], entry: Entry, *, param: str) -> None:
    """Raises InvalidInput for an id that the model has no token for."""
    vocabulary = entry.facts["vocab"]
    for token_id in (min(ids, default=0), max(ids, default=0)):
        if not 0 <= token_id < vocabulary:
            raise InvalidInput(
                f"there is no token {token_id}: {entry.name} has {vocabulary}, counted from 0",
                param=param,
                details={"token": token_id, "vocabulary": vocabulary},
            )
