"""`PictureReports`: tells the backend of a familiar try-on server of each finished picture.

As that server does (docs/compat.md), but by the outbox of webhooks: at least once, over restarts.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import structlog

from onebox.services.database import Database
from onebox.services.jobs.ids import new_id
from onebox.services.webhooks import outbox

log = structlog.get_logger(__name__)

EVENT = "picture.finished"
SUBJECT_PREFIX = "pic"


class PictureReport(msgspec.Struct, frozen=True):
    """What is sent, as it is."""

    user_id: str
    used_credits: float
    catalog_id: str
    image_url: str
    latency_ms: float


class PictureReports:
    """
    Args:
        wake: tells webhooks that there is something to send.
        clock: seconds since 1970.
    """

    def __init__(
        self,
        url: str,
        database: Database,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._database = database
        self._wake = wake
        self._clock = clock

    async def finished(self, report: PictureReport) -> None:
        """It is written down on return. Who waits for the picture does not lose it over a database
        that fails: that is only logged.
        """
        at, subject_id = self._clock(), new_id(SUBJECT_PREFIX)
        body = msgspec.json.encode(_with_whole_credits(report))
        try:
            await self._database.write(
                lambda connection: outbox.add_body(
                    connection,
                    url=self._url,
                    event_type=EVENT,
                    body=body,
                    subject_id=subject_id,
                    at=at,
                )
            )
        except Exception as error:
            log.error("picture_not_told", report=msgspec.to_builtins(report), exc_info=error)
            return
        self._wake()


def _with_whole_credits(report: PictureReport) -> PictureReport:
    """Such a backend counts in whole ones, and takes no 1.0 for a 1."""
    credits = report.used_credits
    if credits != int(credits):
        return report
    return msgspec.structs.replace(report, used_credits=int(credits))
