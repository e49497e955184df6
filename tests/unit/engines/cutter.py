"""A desk whose engine computes pieces: requests that say how many they have and of what kind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from onebox.core.errors import AppError
from onebox.core.piecework import Piece, Piecework
from onebox.engines.piecewise import PiecewiseEngine
from onebox.engines.work import Work
from tests.unit.engines.fakes import BOUND_S, Desk


@dataclass
class Cut(Piecework):
    """`count` pieces named "a0", "a1", …; those from `given` on come with `give`."""

    name: str
    count: int = 1
    kind: str = ""
    given: int | None = None
    on_accept: Callable[[str], None] = lambda piece: None
    on_ready: Callable[[], None] = lambda: None
    got: dict[str, Any] = field(default_factory=dict)
    wake: Callable[[], None] = lambda: None
    asked: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.pieces = [Piece(self.kind, 1, f"{self.name}{n}") for n in range(self.count)]

    def ready(self, most: int) -> Sequence[Piece]:
        self.on_ready()
        self.asked.set()
        given = self.count if self.given is None else self.given
        return [p for p in self.pieces[:given] if p.value not in self.got][:most]

    def give(self) -> None:
        """All pieces are there now."""
        self.given = None
        self.wake()

    def give_up(self) -> None:
        """No more will come."""
        self.count = self.given or 0
        self.wake()

    def accept(self, piece: Piece, result: Any) -> None:
        self.on_accept(piece.value)
        self.got[piece.value] = result

    @property
    def done(self) -> bool:
        return len(self.got) == self.count

    def outputs(self) -> list[Any]:
        return list(self.got.values())


@dataclass
class Cutter(Desk):
    """Rounds of up to `most` pieces. `on_round` sees the names of each, and may wait or raise; a
    piece that is in `bad` fails by itself.
    """

    most: int = 4
    open_at_once: int = 8
    rounds: list[str] = field(default_factory=list)
    on_round: Callable[[list[str], bool], None] = lambda pieces, lean: None
    bad: dict[str, AppError] = field(default_factory=dict)

    def start(self) -> None:
        self.engines.append(PiecewiseEngine("test", self.memory, Scissors(self), self.gate))

    def cut(self, name: str, count: int = 1, **fields: Any) -> Cut:
        own = {k: fields.pop(k) for k in ("kind", "given", "on_accept", "on_ready") if k in fields}
        cut = Cut(name, count, **own)
        self.submit(name, cut, **fields)  # type: ignore[arg-type]  # the runner below takes it
        return cut

    def hold_round(self, name: str = "held") -> threading.Event:
        """Keep the engine busy in a round of one piece; the event returned lets it go."""
        started, free = threading.Event(), threading.Event()
        before = self.on_round

        def wait(pieces: list[str], lean: bool) -> None:
            if pieces == [f"{name}0"]:
                started.set()
                assert free.wait(BOUND_S)
            else:
                before(pieces, lean)

        self.on_round = wait
        self.cut(name)
        assert started.wait(BOUND_S)
        self.rounds.clear()
        return free


class Scissors:
    """The runner."""

    def __init__(self, desk: Cutter) -> None:
        self._desk = desk

    def __call__(self, works, bundle, between_steps, *, lean):
        self._desk.run(works, bundle, between_steps, lean=lean)

    def most_open(self, work: Work) -> int:
        return self._desk.open_at_once if isinstance(work.request, Cut) else 0

    def begin(self, work: Work, wake: Callable[[], None]) -> Piecework:
        work.request.wake = wake
        return work.request

    def choose(self, work: Work, pieces: Sequence[Piece]) -> Sequence[Piece]:
        return pieces[: self._desk.most]

    def compute(self, works, pieces, bundle, between_steps, *, lean):
        names = [piece.value for piece in pieces]
        self._desk.rounds.append(" ".join(names) + (" lean" if lean else ""))
        self._desk.on_round(names, lean)
        between_steps()
        return [self._desk.bad.get(name, name.upper()) for name in names]

    def finish(self, work: Work, piecework: Piecework) -> None:
        self._desk.answer_with(work.id, piecework.outputs())
