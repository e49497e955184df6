"""The contracts of the `piecewise` engine: requests that are computed piece by piece (a text, an
audio window, a sentence), the pieces of many requests side by side.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic

from onebox.core.contracts import Device, Entry, InputT, RunContext, Task
from onebox.core.results import Output


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One part of a request that is computed in one go.

    Attributes:
        kind: only pieces of one task and equal kinds are computed together.
        size: what it weighs beside others, in the unit of its task (tokens, samples).
        value: what its task's `compute` needs.
    """

    kind: Hashable
    size: int
    value: Any


class Piecework(ABC):
    """One request on its way through the engine. Used on the engine thread, but for `close`."""

    def start(self, context: RunContext, wake: Callable[[], None]) -> None:
        """Its turn has come.

        Args:
            context: of this request alone: for `delta`, `part` and `step`.
            wake: to be called, from any thread, when there are pieces again after `ready` gave
                none.
        """
        return

    @abstractmethod
    def ready(self, most: int) -> Sequence[Piece]:
        """Up to so many pieces that may be computed now, the most wanted first. Must be quick:
        it is asked before every round. A piece is given until its result was accepted.

        Raises what the request ends in.
        """

    @abstractmethod
    def accept(self, piece: Piece, result: Any) -> None:
        """What became of a piece. Raises what the request ends in."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether no more pieces will come."""

    @abstractmethod
    def outputs(self) -> list[Output]:
        """The result, once it is done."""

    def close(self) -> None:
        """It has ended, whatever way, perhaps before it began. Called from any thread, and perhaps
        more than once.
        """
        return


class PieceTask(Task[InputT], Generic[InputT]):
    """A task of a piecewise engine.

    Its `reserve_bytes` is what a round with pieces of the request takes at most: a round sets aside
    what the most demanding of its requests say, and `choose` keeps it within that.
    """

    max_open: ClassVar[int] = 256
    """How many requests of one priority may be under way at the same time."""

    def batch_key(self, request: InputT, entry: Entry) -> Hashable | None:
        return ()

    @abstractmethod
    def prepare(self, request: InputT, entry: Entry, read: Callable[[Any], bytes]) -> Piecework:
        """What needs no weights: tokens of texts, a look into a file. Runs in the worker's CPU
        pool, before queueing.

        `read` gives the bytes of a MediaRef. Raises what the request ends in.
        """

    @abstractmethod
    def choose(self, pieces: Sequence[Piece], entry: Entry, device: Device) -> Sequence[Piece]:
        """The pieces of the next round: the first one, and those that go well with it.

        All are of one kind, and come in the order in which they should be served.
        """

    @abstractmethod
    def compute(self, bundle: Any, pieces: Sequence[Piece], context: RunContext) -> list[Any]:
        """The results of some pieces of one kind, in their order. Runs on the engine thread.

        `context` stands for the requests of all of them; call its `hand_over` every 50 ms or so.
        With `context.lean` it should take less memory, whatever that costs. A piece that fails for
        a reason of its own has an AppError as its result; its request ends in it.
        """

    def run(self, bundle: Any, request: InputT, context: RunContext) -> list[Output]:
        raise NotImplementedError("a piecewise engine computes this task; it never runs it")
