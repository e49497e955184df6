"""`Work`: one accepted request in an engine; what an engine is given and offers."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from onebox.core.cancel import CancelToken
from onebox.core.contracts import Bundle, Priority
from onebox.core.errors import AppError
from onebox.core.logs import Origin


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """One request. It is answered once: by the engine's `Runner`, or by `fail`.

    Attributes:
        reserve_bytes: working memory beside the weights.
        batch_key: works of equal keys may run as one; None: this one runs alone.
        items: how many items of a batch it is.
        max_items: the most items of a batch that it may be part of.
        request: what the runner needs of it; nothing to the engine.
        fail: answers with an error; does nothing for a work that was answered.
        origin: whose it is, for the log.
    """

    id: str
    caller: str
    priority: Priority
    token: CancelToken
    estimate_bytes: int
    reserve_bytes: int
    batch_key: Hashable | None
    items: int
    max_items: int
    request: Any
    fail: Callable[[AppError], None]
    origin: Origin = field(default_factory=Origin)


class Runner(Protocol):
    """Runs works of one batch key, in one go, on the engine thread, and answers those that it can.

    Args of a call:
        between_steps: to be called between steps; may hand the device to others before it returns.
        lean: memory ran out on the first try; take less of it.

    A call that raises has answered nobody but those who were cancelled.
    """

    def __call__(
        self,
        works: Sequence[Work],
        bundle: Bundle,
        between_steps: Callable[[], None],
        *,
        lean: bool,
    ) -> None: ...


class Memory(Protocol):
    """What an engine may ask of its worker's memory."""

    def lease(self, works: Sequence[Work]) -> AbstractContextManager[Bundle]:
        """The bundle for a `with` block, loaded first if it must be; may wait for room.

        Counts the working memory of all works. Raises LoadFailed or an AppError.
        """

    def lease_now(self, works: Sequence[Work]) -> AbstractContextManager[Bundle] | None:
        """The same at once, or None when the bundle is not there or there is no room now."""

    def working_bytes(self, work: Work) -> int:
        """The most working memory that a batch with this work may take together."""

    def resize(self, extra_bytes: int) -> bool:
        """From now on the leased bundle takes so many bytes beside its weights.

        Evicts what is idle for it, but waits for nobody. False: there is no room, nothing changed.
        """

    def others_wait(self) -> bool:
        """Whether the requests of another bundle have waited long for what this one holds, or it
        is to be unloaded.
        """

    def recover(self) -> None:
        """After running out of memory: give back what nobody holds, unload what is idle."""


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
