"""`UsageReports`: tells the operator's backend in groups what requests took.

A group is written to the outbox of webhooks in the transaction that writes its rows, so it is sent
at least once, over restarts, signed as webhooks are.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from onebox.services.hooks.shapes import named_by_backend
from onebox.services.jobs.ids import new_id
from onebox.services.usage.usage import Usage
from onebox.services.webhooks import outbox

EVENT = "usage.recorded"
GROUP_PREFIX = "usg"


class UsageReports:
    """
    Args:
        wake: tells webhooks that there is something to send; from any thread.
        clock: seconds since 1970.
    """

    def __init__(
        self, url: str, wake: Callable[[], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._url = url
        self._wake = wake
        self._clock = clock

    def rows_added(self, connection: Connection, rows: Sequence[Usage]) -> None:
        """A hook of the ledger. On a thread of the database."""
        group_id = new_id(GROUP_PREFIX)
        outbox.add(
            connection,
            url=self._url,
            event_type=EVENT,
            data={"id": group_id, "object": "list", "records": [_record(usage) for usage in rows]},
            subject_id=group_id,
            at=self._clock(),
        )
        self._wake()


def _record(usage: Usage) -> dict[str, Any]:
    record: dict[str, Any] = msgspec.to_builtins(usage)
    if (named := named_by_backend(usage.caller)) is not None:
        record["user_id"] = named
    return record
