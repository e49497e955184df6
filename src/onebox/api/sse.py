"""Server-sent events: the one place that makes them.

A proxy that hears nothing gives up, so a comment goes out at once and whenever the source is
silent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from fastapi import Request

from onebox.api.errors import app_error_body, internal_error_body, shaped
from onebox.api.streaming import Chunks, SourceStream
from onebox.core.errors import AppError

log = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
# The last of the events without names, when all went well.
DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"
PING_S = 10.0
# How long a source may take to fail with a status of its own instead of an event under a 200.
HEAD_S = 0.2
# The same where the worker looks into a file or a text first: that takes tenths of a second.
LONG_HEAD_S = 5.0


def wants_events(request: Request) -> bool:
    return EVENT_STREAM in request.headers.get("accept", "")


def event(name: str, data: Any, *, event_id: str | None = None) -> bytes:
    """`event_id`: what a client sends as `Last-Event-ID` to go on after it."""
    number = b"" if event_id is None else b"id: %b\n" % event_id.encode()
    return b"%bevent: %b\ndata: %b\n\n" % (number, name.encode(), msgspec.json.encode(data))


def plain(data: Any) -> bytes:
    """An event without a name, as OpenAI's clients of text expect them."""
    return b"data: %b\n\n" % msgspec.json.encode(data)


def error_event(body: dict[str, Any]) -> bytes:
    return event("error", body)


class EventStream(SourceStream):
    """The events of a source. What it raises after the first one is the last event.

    Args:
        source: made of `event` or `plain`.
        failed: makes the event of an error of its body; `plain` for a source of plain events.
        ping_s: longest silence in seconds.
        head_s: seconds that the answer's head waits for the source's first event or error.
    """

    filler = PING

    def __init__(
        self,
        source: Chunks,
        request: Request,
        *,
        failed: Callable[[dict[str, Any]], bytes] = error_event,
        ping_s: float = PING_S,
        head_s: float = HEAD_S,
    ) -> None:
        super().__init__(source, request, media_type=EVENT_STREAM, head_s=head_s, silence_s=ping_s)
        self._failed = failed

    def _last_words(self, failure: Exception) -> bytes:
        if isinstance(failure, AppError):
            body = app_error_body(failure, self._request)
        else:
            log.error("unhandled_error", exc_info=failure)
            body = internal_error_body(self._request.scope["request_id"])
        return self._failed(shaped(body, self._request))
