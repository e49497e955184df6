"""A client of a worker process that is a fake: it says and ends what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from onebox.core.errors import WorkerLost
from onebox.core.media import Spool
from onebox.runtime.process_client import ProcessWorkerClient
from onebox.runtime.wire import FromWorker, Heartbeat, Hello, Start, ToWorker
from tests.unit.runtime.clients import BUDGET, CPU, create_pools, run_jumping, stats

HANG_S = 60.0
START = Start(0, ("auto",), None, None, 1.0, 1.0, 1, 0.0, 8, 0, "spool")
HELLO = Hello(1, CPU, (CPU,), BUDGET, 1)


class FakeProcess:
    """Ends when it is killed, or when the test ends it."""

    def __init__(self, on_frame: Callable[[FromWorker], None], environment: Mapping[str, str]):
        self.say = on_frame
        self.environment = environment
        self.sent: list[ToWorker] = []
        self.killed = False
        self.returncode: int | None = None
        self._ended = asyncio.Event()

    @property
    def running(self) -> bool:
        return not self._ended.is_set()

    def send(self, frame: ToWorker) -> None:
        if not self.running:
            raise WorkerLost("the worker process is not running")
        self.sent.append(frame)

    def kill(self) -> None:
        if self.running:
            self.killed = True
            self.end(-9)

    def end(self, returncode: int) -> None:
        self.returncode = returncode
        self._ended.set()

    async def wait(self) -> None:
        await self._ended.wait()


class Stage:
    """A client, and every process it started. `refusals` are raised by the next spawns."""

    def __init__(self, folder: Path) -> None:
        self.processes: list[FakeProcess] = []
        self.spawned_at: list[float] = []
        self.refusals: list[Exception] = []
        self.client = ProcessWorkerClient(
            START,
            Spool(folder),
            create_pools(),
            lambda key: True,
            hang_timeout_s=HANG_S,
            environment={"ONEBOX_LOG_LEVEL": "ERROR", "ONEBOX_LOG_FORMAT": "json"},
            spawn=self.spawn,
        )

    async def spawn(
        self, on_frame: Callable[[FromWorker], None], environment: Mapping[str, str]
    ) -> Any:
        self.spawned_at.append(asyncio.get_running_loop().time())
        if self.refusals:
            raise self.refusals.pop(0)
        self.processes.append(FakeProcess(on_frame, environment))
        return self.processes[-1]

    @property
    def process(self) -> FakeProcess:
        return self.processes[-1]

    async def up(self) -> ProcessWorkerClient:
        """A worker that has said hello."""
        await self.client.start()
        await settle()
        self.process.say(HELLO)
        return self.client

    async def beat(self, seconds: float, *bundles: Any, **fields: Any) -> None:
        """Time passes in which the worker sends its heartbeats."""
        for _ in range(int(seconds)):
            self.process.say(Heartbeat(stats(*bundles, **fields)))
            await asyncio.sleep(1)

    async def fail(self, times: int) -> None:
        """So many short lives, one after the other, and the rests after them."""
        for _ in range(times):
            count = len(self.processes)
            self.process.end(1)
            while len(self.processes) == count:
                await asyncio.sleep(0.25)


async def settle() -> None:
    """Until all that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def end_of(exchange) -> Any:
    async with exchange:
        return [event async for event in exchange][-1]


def play(stage: Stage, scene) -> Any:
    """Run a scene and close the client, so that no task is left over."""

    async def whole():
        try:
            return await scene
        finally:
            await stage.client.close(0)

    return run_jumping(whole())
