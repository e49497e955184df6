"""Weights that are numbers, a clock that stands still, and a worker that only takes notes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from onebox.core.contracts import Device, Entry
from onebox.core.media import Spool
from onebox.runtime.cache import BundleCache
from onebox.runtime.slot import Want
from onebox.runtime.wire import BundleStats, Event, Hello, Submit, ToWorker, WorkerStats
from onebox.runtime.worker_client import State, WorkerClient

CPU = Device("cpu", "cpu", "A CPU", "cpu", "host", 32, 24, "float32", "float32")
BUDGET = 100


def entry(name: str, **overrides: object) -> Entry:
    return Entry(name, name, f"/m/{name}", "", 1, "ready", family="fake", overrides=overrides)


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeBundle:
    name: str
    size_bytes: int
    closed: bool = False

    def close(self) -> None:
        assert not self.closed
        self.closed = True


@dataclass
class Weights:
    """What is on disk. `sizes` are what a load measures; a name in `broken` fails to load."""

    sizes: dict[str, int] = field(default_factory=dict)
    broken: dict[str, BaseException] = field(default_factory=dict)
    loaded: list[FakeBundle] = field(default_factory=list)
    freed: int = 0
    before: Callable[[str], None] = lambda name: None

    def load(self, item: Entry) -> FakeBundle:
        self.before(item.name)
        if item.name in self.broken:
            raise self.broken[item.name]
        self.loaded.append(FakeBundle(item.name, self.sizes.get(item.name, 40)))
        return self.loaded[-1]

    def free(self) -> None:
        self.freed += 1

    def names(self) -> list[str]:
        return [bundle.name for bundle in self.loaded]


def create_cache(weights: Weights, clock: Clock, **options: float) -> BundleCache:
    timeouts = {"lease_timeout_s": 10.0, "idle_timeout_s": 60.0, "poll_s": 0.001, **options}
    return BundleCache(BUDGET, weights.load, weights.free, clock=clock, **timeouts)


def want(
    item: Entry,
    estimate: int = 40,
    reserve: int = 0,
    check: Callable[[], None] = lambda: None,
    loading: Callable[[float], None] = lambda fraction: None,
) -> Want:
    return Want(item, estimate, reserve, check, loading)


def submit(request_id: str) -> Submit:
    return Submit(request_id, "t", entry("a"), {}, "key:1", "interactive", 9.0, 1)


class NotingClient(WorkerClient):
    """Notes what it is to send; the test says what the worker answers."""

    def __init__(self, folder: Path, index: int = 0, state: State = "ready") -> None:
        self.spool = Spool(folder)
        super().__init__(index, self.spool)
        self.sent: list[ToWorker] = []
        self.lost: Exception | None = None
        if state == "ready":
            self._on_hello(Hello(1, CPU, (CPU,), BUDGET, 1))
        else:
            self._set_state(state, f"it is {state}")

    async def start(self) -> None:
        return

    async def close(self, grace_s: float) -> None:
        return

    async def _send(self, frame: ToWorker) -> None:
        if self.lost is not None:
            raise self.lost
        self.sent.append(frame)

    def answer(self, *events: Event) -> None:
        for event in events:
            self._on_event(event)

    def has_loaded(self, *keys: str) -> None:
        bundles = tuple(BundleStats(key, key, "fake", 1, 0) for key in keys)
        self.last_stats = WorkerStats(bundles, 0, 0, BUDGET, 0, 0, 0)
