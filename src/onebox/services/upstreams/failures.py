"""What went wrong at an upstream, as an error of ours: none of its words but those that help."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from onebox.core.errors import (
    AppError,
    InvalidInput,
    PayloadTooLarge,
    QueueFull,
    UpstreamFailed,
    UpstreamLoop,
    UpstreamTimeout,
    all_errors,
)
from onebox.services.outgoing.retrying import BadStatus

MAX_MESSAGE_CHARS = 300
MAX_PARAM_CHARS = 100
HIDDEN = "…"
# They say what was wrong with the request.
REFUSALS = frozenset({400, 409, 415, 422})
# A 5xx that the same request meets again.
LASTING = frozenset({501, 505, 507})
LOOPS = 508
DEFAULT_RETRY_S = 5.0


class BadHead(BadStatus):
    """A 5xx of an upstream that may be tried again."""


def error_of(
    upstream: str,
    status: int,
    body: bytes,
    retry_after_s: float | None,
    secrets: Sequence[str],
) -> Exception:
    """What an answer with a status other than 2xx means.

    Args:
        body: the beginning of it.
        secrets: texts that no message may hold.
    """
    if status in (401, 403):
        return UpstreamFailed(
            f"the upstream {upstream} refused our credentials; its operator must set a valid key"
        )
    if status == 404:
        return UpstreamFailed(f"the upstream {upstream} does not know the model or the route")
    if status in REFUSALS:
        return refusal(upstream, body, secrets)
    if status == 413:
        return PayloadTooLarge(f"the upstream {upstream} takes no request as large as this")
    if status == 429:
        return QueueFull(
            f"the upstream {upstream} takes no more requests for now; try again later",
            retry_after_s=retry_after_s or DEFAULT_RETRY_S,
        )
    if status in (408, 504):
        return UpstreamTimeout(f"the upstream {upstream} ran out of time")
    if status == LOOPS:
        return UpstreamLoop(f"the upstream {upstream} leads in a circle of servers")
    if status >= 500 and status not in LASTING:
        return BadHead(status, retry_after_s)
    return UpstreamFailed(f"the upstream {upstream} answered with the status {status}")


def refusal(upstream: str, body: bytes, secrets: Sequence[str]) -> InvalidInput:
    """It says that the request is wrong: of the same class as here, where it tells."""
    told = _told(body)
    kind = all_errors().get(str(told.get("code")), InvalidInput)
    if not issubclass(kind, InvalidInput):
        kind = InvalidInput
    message = cleaned(told.get("message"), secrets)
    param = told.get("param")
    return kind(
        f"the upstream {upstream} refused the request" + (f": {message}" if message else ""),
        param=param if isinstance(param, str) and len(param) <= MAX_PARAM_CHARS else None,
    )


def broken_off(upstream: str, event: Any, secrets: Sequence[str]) -> AppError:
    """An error that came after the first byte."""
    message = cleaned(event.get("message") if isinstance(event, dict) else event, secrets)
    return UpstreamFailed(
        f"the upstream {upstream} broke off its answer" + (f": {message}" if message else "")
    )


def cleaned(text: Any, secrets: Sequence[str]) -> str:
    """At most a few lines of printable characters, and nothing secret."""
    if not isinstance(text, str):
        return ""
    for secret in secrets:
        if secret:
            text = text.replace(secret, HIDDEN)
    shown = "".join(char if char.isprintable() else " " for char in text).strip()
    return shown if len(shown) <= MAX_MESSAGE_CHARS else shown[:MAX_MESSAGE_CHARS] + HIDDEN


def _told(body: bytes) -> dict[str, Any]:
    """`message`, `param` and `code`, in whichever of the usual shapes they came."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, dict):
        return {}
    error = value.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error}
    errors = value.get("errors")
    if isinstance(errors, list):
        return {"message": "; ".join(str(one) for one in errors[:5])}
    return {"message": value.get("message") or value.get("detail")}
