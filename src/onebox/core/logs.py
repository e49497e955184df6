"""Structured logs: human in a terminal, JSON otherwise. Everything goes to stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import structlog


def configure_logs(level: str, log_format: str) -> None:
    """Set up structlog, and let the standard library's loggers write the same way. Once a
    process.

    Our own lines do not pass through the standard library: that would double what a line costs.
    """
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks: rich ones print variables, which hold prompts and keys.
    plain = structlog.dev.plain_traceback
    tail: list[Any] = [structlog.dev.ConsoleRenderer(exception_formatter=plain)]
    if not human:
        json = structlog.processors.JSONRenderer(serializer=_json)
        tail = [structlog.processors.format_exc_info, json]
    structlog.configure(
        processors=[*shared, *tail],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *tail],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True
    logging.getLogger("uvicorn.access").disabled = True
    # Chatty at INFO, and nothing an operator can act on.
    for name in ("uvicorn.error", "httpx", "httpx2", "watchdog", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _json(event: Any, default: Callable[[Any], Any]) -> str:
    return msgspec.json.encode(event, enc_hook=default).decode()
