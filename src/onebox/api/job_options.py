"""What a request for long work may say beside its input, and its `Idempotency-Key`."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable
from typing import Any

from fastapi import Request
from pydantic import BaseModel, Field

from onebox.api.bodies import header_parameter
from onebox.api.options import RequestOptions
from onebox.bootstrap import Services
from onebox.core.contracts import Priority
from onebox.core.errors import InvalidInput
from onebox.services.jobs.job import Surface
from onebox.services.jobs.jobs import Submission

KEY_HEADER = "Idempotency-Key"
KEY = re.compile(r"[\x21-\x7e]{1,255}")
# For the API's pages.
IDEMPOTENCY = header_parameter(
    KEY_HEADER, "Makes it safe to send again: the same key and request are the same job."
)
MAX_URL = 2048
MAX_EVENTS = 16
SHOWN_CHARS = 500


class JobOptions(RequestOptions):
    priority: Priority = Field(
        "job", description="`job` waits for `interactive`, and `batch` for both."
    )
    webhook_url: str | None = Field(
        None, min_length=1, max_length=MAX_URL, description="Told of what becomes of the job."
    )
    webhook_events: list[str] | None = Field(
        None,
        max_length=MAX_EVENTS,
        description="What it is told, such as `job.started`; by default how the job ended.",
    )


def shown_input(resolved: BaseModel) -> dict[str, Any]:
    """What is told of a task's input: its plain values, of long texts the beginning."""
    shown = {name: value for name, value in resolved if isinstance(value, str | int | float)}
    return {name: _shortened(value) for name, value in shown.items()}


async def submission_of(
    body: JobOptions,
    request: Request,
    *,
    surface: Surface = "job",
    public: Callable[[BaseModel], dict[str, Any]] = shown_input,
) -> Submission:
    """What the options and headers of a request say of its job. Raises InvalidInput."""
    key = idempotency_key(request)
    _check_webhook(body, request, surface)
    return Submission(
        surface=surface,
        public=public,
        webhook_url=body.webhook_url,
        webhook_events=tuple(body.webhook_events or ()),
        idempotency_key=key,
        fingerprint=None if key is None else await asyncio.to_thread(_fingerprint, request, body),
    )


def _check_webhook(body: JobOptions, request: Request, surface: Surface) -> None:
    """Raises InvalidInput for one that could not be told of the job."""
    services: Services = request.app.state.services
    if body.webhook_url is not None:
        services.webhooks.check(body.webhook_url, body.webhook_events or (), surface)
    elif body.webhook_events:
        raise InvalidInput("webhook_events needs a webhook_url", param="webhook_url")


def idempotency_key(request: Request) -> str | None:
    """Raises InvalidInput."""
    key = request.headers.get(KEY_HEADER)
    if key is not None and not KEY.fullmatch(key):
        raise InvalidInput(
            f"{KEY_HEADER} must have 1 to 255 printable ASCII characters without blanks",
            param=KEY_HEADER,
        )
    return key


def _fingerprint(request: Request, body: BaseModel) -> str:
    """The same for the same request, however its body is written down."""
    said = f"{request.url.path}\n{body.model_dump_json()}"
    return hashlib.sha256(said.encode()).hexdigest()


def _shortened(value: Any) -> Any:
    return value[:SHOWN_CHARS] if isinstance(value, str) else value
