"""Structured logs: human in a terminal, JSON otherwise. Everything goes to stderr, and as JSON to a
file where there is one.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol, TextIO

import msgspec
import structlog

from onebox.core.log_file import LogFile


class Origin(msgspec.Struct, frozen=True):
    """Whose work it is: what log lines about a request carry.

    Attributes:
        request_id: of the HTTP request, the client's own where it gave one.
        job: the id of the job that it belongs to.
        trace_id, span_id: of its trace, where there is one.
    """

    request_id: str | None = None
    job: str | None = None
    trace_id: str | None = None
    span_id: str | None = None


class Owned(Protocol):
    """What belongs to a request."""

    @property
    def origin(self) -> Origin: ...


# Of a line, what stands below it.
LONG_TEXTS = frozenset({"exception", "stack"})

# What the current thread works on; a batch is of several requests.
_works_on: ContextVar[Sequence[Owned]] = ContextVar("works_on", default=())


@contextlib.contextmanager
def logged_for(works: Sequence[Owned]) -> Iterator[None]:
    """Lines that are logged in the body carry the ids of these requests.

    It is looked at when a line is logged, so it may be filled later.
    """
    token = _works_on.set(works)
    try:
        yield
    finally:
        _works_on.reset(token)


def current_origin() -> Origin:
    """Whose work the current task of the gateway does."""
    bound = structlog.contextvars.get_contextvars()
    return Origin(*(bound.get(name) for name in Origin.__struct_fields__))


def work_for(origin: Origin) -> None:
    """From now on the current task of the gateway works for that request, but in its own job."""
    bound = {name: getattr(origin, name) for name in Origin.__struct_fields__ if name != "job"}
    structlog.contextvars.bind_contextvars(**{name: it for name, it in bound.items() if it})


def configure_logs(level: str, log_format: str, file: LogFile | None = None) -> None:
    """Set up structlog, and let the standard library's loggers write the same way. Once a
    process.

    Our own lines do not pass through the standard library: that would double what a line costs.
    """
    human = log_format == "human" or (log_format == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        add_origins,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    as_json = [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(serializer=_json),
    ]
    console = [_show, structlog.dev.ConsoleRenderer(exception_formatter=_traceback)]
    tail: list[Any] = console if human else as_json
    to_file: list[Any] = []
    if file is not None:
        # What is JSON on the console too is made once.
        to_file = [_Copy(as_json, file.put), *tail] if human else [*tail, _Tee(file.put)]
    structlog.configure(
        processors=[*shared, *(to_file or tail)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *(to_file or tail),
            ],
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


def _show(logger: Any, name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Processor before a terminal: texts of clients must not move its cursor or forge lines."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = _printable(value, kept="\n" if key in LONG_TEXTS else "")
    return event


def _traceback(out: TextIO, exc_info: Any) -> None:
    """A plain one: rich ones print variables, which hold prompts and keys."""
    text = io.StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(_printable(text.getvalue(), kept="\n"))


def _printable(text: str, *, kept: str) -> str:
    """With other characters written as Python would, such as `\\x1b`."""
    return "".join(
        char if char.isprintable() or char in kept else ascii(char)[1:-1] for char in text
    )


class _Tee:
    """Last of the processors: the finished line goes to the file too."""

    def __init__(self, put: Callable[[str], None]) -> None:
        self._put = put

    def __call__(self, logger: Any, name: str, line: str) -> str:
        self._put(line)
        return line


class _Copy:
    """Makes a line for the file of what goes on to the console."""

    def __init__(self, renderers: Sequence[Any], put: Callable[[str], None]) -> None:
        self._renderers = renderers
        self._put = put

    def __call__(
        self, logger: Any, name: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        line: Any = dict(event)
        for renderer in self._renderers:
            line = renderer(logger, name, line)
        self._put(line)
        return event


def add_origins(
    logger: Any, name: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Processor: `request_id`, `job` and so on of what is worked on; `request_ids` of several."""
    origins = [work.origin for work in list(_works_on.get())]
    if origins:
        for name in Origin.__struct_fields__:
            _add(event, name, [getattr(origin, name) for origin in origins])
    return event


def _add(event: MutableMapping[str, Any], name: str, found: Sequence[str | None]) -> None:
    ids = list(dict.fromkeys(one for one in found if one is not None))
    if len(ids) == 1:
        event.setdefault(name, ids[0])
    elif ids:
        event.setdefault(f"{name}s", ids)


def _json(event: Any, default: Callable[[Any], Any]) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=default).decode()
    except UnicodeEncodeError:
        # Half a character, as in names of files and in JSON of clients: this one writes it so.
        return json.dumps(event, default=default)
