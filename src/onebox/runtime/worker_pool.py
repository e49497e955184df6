"""All workers of this server: one per chosen device, and which of them gets a request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from onebox.core.contracts import Device
from onebox.core.errors import WorkerUnready
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.placement import WorkerView, choose_worker
from onebox.runtime.wire import BundleStats
from onebox.runtime.worker_client import WorkerClient

START_TIMEOUT_S = 120.0


class WorkerPool:
    """Owns the worker clients. Lives on the gateway's event loop.

    Only a worker can tell which devices there are (the gateway has no torch), so the first one is
    started alone, and its hello says how many more there must be.

    Args:
        create: makes the client of the n-th chosen device.
        replicate_at: with so many requests for a model at its worker, a free one gets it too.
    """

    def __init__(
        self, create: Callable[[int], WorkerClient], pools: MemoryPools, *, replicate_at: int
    ) -> None:
        self._create = create
        self._pools = pools
        self._replicate_at = replicate_at
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

    def ready(self) -> list[WorkerClient]:
        """The workers that are up."""
        return [client for client in self.clients if client.state == "ready"]

    def has_loaded(self, key: str) -> bool:
        """Whether a worker has told of the bundle of an entry's key."""
        stats = [client.last_stats for client in self.clients if client.last_stats is not None]
        return any(b.key == key and b.state == "ready" for one in stats for b in one.bundles)

    def lives(self) -> tuple[int, ...]:
        """Changes whenever a worker came up, with nothing in its memory."""
        return tuple(client.lives for client in self.clients)

    def reasons(self) -> list[str]:
        """Why workers are not ready, and what is wrong with their devices."""
        reasons = [client.reason for client in self.clients if client.state != "ready"]
        problems = {problem for device in self.devices() for problem in device.problems}
        return reasons + sorted(problems)

    async def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Until a worker is up. Raises WorkerUnready when none comes up."""
        if not self.clients:
            raise WorkerUnready("the server is still starting", retry_after_s=5)
        if self.ready():
            return
        starting = [client for client in self.clients if client.state == "starting"]
        if not starting:
            raise self.clients[0].unready()
        waits = {asyncio.ensure_future(client.wait_ready(timeout_s)) for client in starting}
        left = waits
        try:
            while left and not self.ready():
                _, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if not self.ready():
            raise starting[0].unready()

    async def place(
        self,
        key: str,
        needed_bytes: Callable[[Device], Awaitable[int]],
        timeout_s: float = START_TIMEOUT_S,
    ) -> WorkerClient:
        """The worker for a request to a checkpoint, by the rules of `choose_worker`.

        Waits for workers that are starting when none is up. Raises WorkerUnready when none comes.

        Args:
            needed_bytes: what weights and work take on a device.
        """
        ready = self.ready()
        if not ready:
            await self.wait_ready(min(timeout_s, START_TIMEOUT_S))
            ready = self.ready()
        if len(ready) == 1:
            return ready[0]
        assert ready[0].hello is not None
        needed = await needed_bytes(ready[0].hello.device)
        # A worker may have ended meanwhile.
        views = [self._view(client, key) for client in self.ready() or ready]
        chosen = choose_worker(views, needed, replicate_at=self._replicate_at)
        return self.clients[chosen]

    def _view(self, client: WorkerClient, key: str) -> WorkerView:
        loaded = any(b.key == key and b.state != "leaving" for b in _bundles(client))
        waiting = client.pending_keys().count(key)
        pool = self._pools.pool_of(client)
        # Workers of one pool lend each other what they do not use, and evict for each other.
        sharers = [other for other in self.clients if self._pools.pool_of(other) == pool]
        in_pool = [bundle for sharer in sharers for bundle in _bundles(sharer)]
        used = sum(b.size_bytes + b.reserved_bytes for b in in_pool)
        idle = sum(b.size_bytes for b in in_pool if not (b.leases or b.pinned))
        limit = self._pools.limit_bytes(pool or "")
        return WorkerView(
            index=client.index,
            loaded=loaded or waiting > 0,
            waiting=waiting,
            pending=client.pending,
            free_bytes=limit - used,
            idle_bytes=idle,
            pool_bytes=limit,
            loaded_bytes=sum(b.size_bytes for b in _bundles(client)),
        )

    async def _start_others(self) -> None:
        """The first one knows the devices as soon as it was up once."""
        while not self.devices():
            try:
                await self.clients[0].wait_ready(START_TIMEOUT_S)
            except WorkerUnready:
                await asyncio.sleep(1)
        for index in range(1, len(self.devices())):
            await self._add(index)

    async def _add(self, index: int) -> None:
        client = self._create(index)
        self.clients.append(client)
        await client.start()


def _bundles(client: WorkerClient) -> tuple[BundleStats, ...]:
    """What a worker has in memory, as last told."""
    return client.last_stats.bundles if client.last_stats else ()
