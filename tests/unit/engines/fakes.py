"""A desk that hands in requests and collects their answers, and memory that only takes notes."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from onebox.core.cancel import CancelToken
from onebox.core.errors import AppError, ShuttingDown
from onebox.engines.gate import Gate
from onebox.engines.work import Engine, Work

BOUND_S = 60
LARGE = 10**9


def names(works: Sequence[Work]) -> str:
    return " ".join(work.id for work in works)


def until(condition: Callable[[], bool]) -> None:
    """For what tells nobody when it happens, such as a thread that begins to wait."""
    never = threading.Event()
    for _ in range(BOUND_S * 1000):
        if condition():
            return
        never.wait(0.001)
    raise TimeoutError("it never happened")


@dataclass
class FakeMemory:
    """Lends "weights"; `on_lease` may raise or wait."""

    on_lease: Callable[[Sequence[Work]], None] = lambda works: None
    on_recover: Callable[[], None] = lambda: None
    has_room_now: bool = True
    working: int = LARGE
    wanted_by_others: bool = False
    out: list[str] = field(default_factory=list)
    asked_now: list[str] = field(default_factory=list)
    recovered: int = 0

    @contextlib.contextmanager
    def lease(self, works: Sequence[Work]) -> Iterator[Any]:
        self.on_lease(works)
        with self._lent(works) as bundle:
            yield bundle

    def lease_now(self, works: Sequence[Work]) -> contextlib.AbstractContextManager[Any] | None:
        self.asked_now.append(names(works))
        return self._lent(works) if self.has_room_now else None

    def working_bytes(self, work: Work) -> int:
        return self.working

    def resize(self, extra_bytes: int) -> bool:
        return True

    def others_wait(self) -> bool:
        return self.wanted_by_others

    def recover(self) -> None:
        self.recovered += 1
        self.on_recover()

    @contextlib.contextmanager
    def _lent(self, works: Sequence[Work]) -> Iterator[Any]:
        lent = names(works)
        self.out.append(lent)
        try:
            yield "weights"
        finally:
            self.out.remove(lent)


@dataclass
class Desk:
    """Its `run` is the runner: a work's own `request` runs it, or else it is answered at once.

    `on_run` sees each call first, and may raise.
    """

    memory: FakeMemory = field(default_factory=FakeMemory)
    gate: Gate = field(default_factory=Gate)
    on_run: Callable[[Sequence[Work], bool], None] = lambda works, lean: None
    answers: queue.Queue[tuple[str, object]] = field(default_factory=queue.Queue)
    runs: list[str] = field(default_factory=list)
    answered: set[str] = field(default_factory=set)
    engines: list[Engine] = field(default_factory=list)

    def open(self, engine: type, **limits: Any) -> Any:
        self.engines.append(engine("test", self.memory, self.run, self.gate, **limits))
        return self.engines[-1]

    @property
    def engine(self) -> Engine:
        return self.engines[0]

    def run(self, works, bundle, between_steps, *, lean):
        self.runs.append(names(works) + (" lean" if lean else ""))
        self.on_run(works, lean)
        for work in works:
            if work.request is not None:
                work.request(bundle, between_steps)
        for work in works:
            if work.token.stopped() is None:
                self.answer_with(work.id, bundle)

    def answer_with(self, name: str, answer: object) -> None:
        assert name not in self.answered, f"{name} was answered twice"
        self.answered.add(name)
        self.answers.put((name, answer))

    def fail(self, name: str, error: AppError) -> None:
        if name not in self.answered:
            self.answer_with(name, type(error))

    def work(self, name: str, request: Callable[..., None] | None = None, **fields: Any) -> Work:
        values: dict[str, Any] = {
            "caller": "a",
            "priority": "interactive",
            "token": CancelToken(),
            "estimate_bytes": 0,
            "reserve_bytes": 1,
            "batch_key": None,
            "items": 1,
            "max_items": 8,
            "request": request,
            "fail": lambda error: self.fail(name, error),
        }
        return Work(id=name, **(values | fields))

    def submit(self, name: str, request: Callable[..., None] | None = None, **fields: Any) -> Work:
        work = self.work(name, request, **fields)
        self.engine.submit(work)
        return work

    def hold(self, name: str = "held", **fields: Any) -> threading.Event:
        """Keep the engine busy; the event returned lets it go."""
        started, free = threading.Event(), threading.Event()

        def run(bundle, between_steps):
            started.set()
            assert free.wait(BOUND_S)

        self.submit(name, run, **fields)
        assert started.wait(BOUND_S)
        return free

    def answer(self) -> tuple[str, object]:
        return self.answers.get(timeout=BOUND_S)

    def next_answers(self, count: int) -> list[str]:
        return [self.answer()[0] for _ in range(count)]

    def close(self) -> None:
        for engine in self.engines:
            engine.close(ShuttingDown("the test is over"))
            engine.join(BOUND_S)
