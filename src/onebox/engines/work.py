"""`Work`: one accepted request on its way through an engine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from onebox.core.cancel import CancelToken
from onebox.core.contracts import Bundle, Priority
from onebox.core.errors import AppError


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One request. Exactly one of `run` (which answers) and `fail` is its end.

    Attributes:
        run: does the work on the engine thread. Its second argument is to be called between steps:
            it may hand the device to another engine before it returns.
        fail: answers with an error.
    """

    id: str
    caller: str
    priority: Priority
    token: CancelToken
    estimate_bytes: int
    reserve_bytes: int
    run: Callable[[Bundle, Callable[[], None]], None]
    fail: Callable[[AppError], None]
    loading: Callable[[float], None]


class LeaseFactory(Protocol):
    """Gives the engine its bundle for the length of a `with` block, loading it when it must."""

    def __call__(self, work: Work) -> AbstractContextManager[Bundle]: ...


class LoadFailed(Exception):
    """The bundle could not be loaded: everyone who waits for it gets `error`."""

    def __init__(self, error: AppError) -> None:
        super().__init__(error.message)
        self.error = error


class Engine(Protocol):
    """Owns one bundle's requests and the one thread that touches its weights."""

    def submit(self, work: Work) -> None: ...

    def cancel(self, request_id: str) -> None:
        """Drop the request if it waits; if it runs, its token stops it at the next step."""

    def waiting(self) -> int: ...

    def busy(self) -> bool: ...

    def close(self, reason: AppError) -> None:
        """Answer what waits with `reason`, let what runs finish, and end the thread."""

    def join(self, timeout_s: float | None) -> None: ...
