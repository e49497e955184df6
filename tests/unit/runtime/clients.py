"""A worker that only takes notes, and an event loop whose clock jumps instead of waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from onebox.core.contracts import Device, Entry
from onebox.core.media import Spool
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import BundleStats, Event, Hello, Submit, ToWorker, WorkerStats
from onebox.runtime.worker_client import State, WorkerClient

T = TypeVar("T")

CPU = Device("cpu", "cpu", "A CPU", "cpu", "host", 32, 24, "float32", "float32")
BUDGET = 100
BOUND_S = 60
BOUND_JUMPING_S = 100_000.0


def run(scene: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(scene, BOUND_S))


def run_jumping(scene: Coroutine[Any, Any, T]) -> T:
    """Run a scene in which time passes at once. For scenes without threads."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(asyncio.wait_for(scene, BOUND_JUMPING_S))


class JumpingLoop(asyncio.SelectorEventLoop):
    """When nothing is left to do, its clock jumps to the next timer."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    def __init__(self, loop: JumpingLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        found = super().select(0)
        if not found and timeout is not None:
            self._loop.now += max(timeout, 0)
        return found


def entry(key: str = "a", **fields: Any) -> Entry:
    return Entry(key, f"name-of-{key}", f"/m/{key}", "", 1, "ready", **{"family": "fake", **fields})


def submit(request_id: str, key: str = "a", *, timeout_s: float = 9.0) -> Submit:
    return Submit(request_id, "t", entry(key), {}, "key:1", "interactive", timeout_s, 1)


def create_pools() -> MemoryPools:
    """Pools of which no other program uses anything."""
    return MemoryPools(lambda device, nominal_bytes: nominal_bytes)


def bundle(
    key: str,
    *,
    state: str = "ready",
    size_bytes: int = 1,
    reserved_bytes: int = 0,
    leases: int = 0,
    pinned: bool = False,
) -> BundleStats:
    return BundleStats(key, key, "fake", state, size_bytes, reserved_bytes, leases, pinned)


def stats(*bundles: BundleStats, **fields: Any) -> WorkerStats:
    return WorkerStats(bundles, 0, 0, BUDGET, 0, 0, 0, **fields)


class NotingClient(WorkerClient):
    """Notes what it is to send; the test says what the worker answers.

    `lost` is raised by the next frame that is sent.
    """

    def __init__(
        self,
        folder: Path,
        index: int = 0,
        state: State = "ready",
        *,
        pools: MemoryPools | None = None,
        device: Device = CPU,
        chosen: int = 1,
        is_current: Callable[[str], bool] = lambda key: True,
    ) -> None:
        self.spool = Spool(folder)
        super().__init__(index, self.spool, pools or create_pools(), is_current)
        self.sent: list[ToWorker] = []
        self.lost: Exception | None = None
        self.started = False
        self.closed_with: float | None = None
        self._says = Hello(1, device, (device,) * chosen, BUDGET, 1)
        if state == "ready":
            self.come_up()
        else:
            self._set_state(state, f"it is {state}")

    async def start(self) -> None:
        self.started = True

    async def close(self, grace_s: float) -> None:
        self.closed_with = grace_s

    def come_up(self) -> None:
        """As with a Hello, for which a loop must run."""
        self.hello = self._says
        self.lives += 1
        self._pools.join(self, self.hello, self._send_quietly)
        self._set_state("ready", "")
        self.sent.clear()

    def end(self, state: State, error: Exception | None = None) -> None:
        self.lost = error
        self._set_state(state, f"it is {state}")

    def _send(self, frame: ToWorker) -> None:
        if self.lost is not None:
            raise self.lost
        self.sent.append(frame)

    def answer(self, *events: Event) -> None:
        for event in events:
            self._on_event(event)

    def has(self, *bundles: BundleStats, **fields: Any) -> None:
        self.last_stats = stats(*bundles, **fields)
