"""All workers of this server: one per chosen device, and which of them gets a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from onebox.core.contracts import Device
from onebox.core.errors import WorkerUnready
from onebox.runtime.worker_client import WorkerClient

START_TIMEOUT_S = 120.0


class WorkerPool:
    """Owns the worker clients. Lives on the gateway's event loop.

    Only a worker can tell which devices there are (the gateway has no torch), so the first one is
    started alone, and its hello says how many more there must be.

    Args:
        create: makes the client of the n-th chosen device.
    """

    def __init__(self, create: Callable[[int], WorkerClient]) -> None:
        self._create = create
        self.clients: list[WorkerClient] = []
        self._starter: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Returns at once; `wait_ready` tells when the workers are up."""
        await self._add(0)
        self._starter = asyncio.create_task(self._start_others(), name="worker-pool")

    async def close(self, grace_s: float) -> None:
        if self._starter is not None:
            self._starter.cancel()
        await asyncio.gather(*(client.close(grace_s) for client in self.clients))

    def devices(self) -> list[Device]:
        """The chosen devices, as far as they are known."""
        hello = self.clients[0].hello if self.clients else None
        return list(hello.chosen) if hello else []

    def ready(self) -> bool:
        return any(client.state == "ready" for client in self.clients)

    def reasons(self) -> list[str]:
        """Why workers are not ready, and what is wrong with their devices."""
        reasons = [client.reason for client in self.clients if client.state != "ready"]
        problems = {problem for device in self.devices() for problem in device.problems}
        return reasons + sorted(problems)

    async def wait_ready(self) -> None:
        """Until the first worker is up. Raises WorkerUnready when it does not come up."""
        if not self.clients:
            raise WorkerUnready("the server is still starting", retry_after_s=5)
        await self.clients[0].wait_ready(START_TIMEOUT_S)

    async def place(self, key: str) -> WorkerClient:
        """The worker for a checkpoint: one that has it loaded, else the least busy one.

        Waits for a worker that is starting. Raises WorkerUnready when none comes up.
        """
        ready = [client for client in self.clients if client.state == "ready"]
        if not ready:
            await self.wait_ready()
            ready = [self.clients[0]]
        return min(ready, key=lambda client: (not _has_loaded(client, key), client.pending))

    async def _start_others(self) -> None:
        while True:
            try:
                await self.wait_ready()
                break
            except WorkerUnready:
                await asyncio.sleep(1)
        for index in range(1, len(self.devices())):
            await self._add(index)

    async def _add(self, index: int) -> None:
        client = self._create(index)
        self.clients.append(client)
        await client.start()


def _has_loaded(client: WorkerClient, key: str) -> bool:
    return client.last_stats is not None and any(b.key == key for b in client.last_stats.bundles)
