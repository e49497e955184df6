"""`Residency`: putting a model into memory and taking it out, when somebody asks for just that."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from onebox.core.contracts import Device, Entry
from onebox.core.errors import TaskNotSupported
from onebox.core.logs import current_origin
from onebox.runtime.wire import Event, Failed, Load, Loading, Result, Stats, Unload
from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.request import require_local, require_whole
from onebox.services.sizing import Sizing

# For how long an unload waits for running requests, and with force for the step they are in.
UNLOAD_WAIT_S = 5.0
FORCED_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model is in memory. `load_s` is 0 when it was there already."""

    entry: Entry
    device_id: str
    size_bytes: int
    load_s: float


class Residency:
    """Loads and unloads by request; what a task needs is loaded by the worker itself."""

    def __init__(self, pool: WorkerPool, sizing: Sizing, *, timeout_s: float) -> None:
        self._pool = pool
        self._sizing = sizing
        self._timeout_s = timeout_s

    async def load(
        self, entry: Entry, *, caller: str, timeout_s: float | None = None
    ) -> AsyncGenerator[Loading | Loaded, None]:
        """How far the load is, then `Loaded`. Whoever waits for the model sees the same progress.

        Raises ModelBroken, TaskNotSupported (no family), ModelTooLarge, OutOfMemory, WorkerUnready.
        """
        _require_loadable(entry)
        timeout_s = min(timeout_s or self._timeout_s, self._timeout_s)
        client = await self._pool.place(
            entry.key, lambda device: self._weights(entry, device), timeout_s
        )
        assert client.hello is not None
        device = client.hello.device
        frame = Load(
            id=secrets.token_hex(8),
            entry=entry.as_loaded(),
            caller=caller,
            timeout_s=timeout_s,
            estimate_bytes=await self._weights(entry, device),
            origin=current_origin(),
        )

        def observe(event: Event) -> None:
            if isinstance(event, Loading) and event.size_bytes is not None:
                self._sizing.remember_weights(entry, device, event.size_bytes)

        async with client.submit(frame, observe) as exchange:
            async for event in exchange:
                if isinstance(event, Loading):
                    yield event
                elif isinstance(event, Failed):
                    raise event.to_error()
                elif isinstance(event, Result):
                    size_bytes = await _refresh(client, entry.key)
                    yield Loaded(entry, device.id, size_bytes or 0, event.timing.load_s)

    async def unload(self, entry: Entry, *, force: bool) -> bool:
        """Take the model out of every worker. False when it was in none.

        Raises ModelBusy when it is still in use after a while; with `force` its requests end with
        ModelUnloaded instead. Raises TaskNotSupported for one of another server.
        """
        require_local(entry)
        clients = self._pool.ready()
        return any(await asyncio.gather(*(_unload(client, entry.key, force) for client in clients)))

    async def _weights(self, entry: Entry, device: Device) -> int:
        return (await self._sizing.weights(entry, device)).expected_bytes


async def _unload(client: WorkerClient, key: str, force: bool) -> bool:
    was_loaded = await _refresh(client, key) is not None
    wait_s = FORCED_WAIT_S if force else UNLOAD_WAIT_S
    frame = Unload(secrets.token_hex(8), key, wait_s, force)
    async with client.submit(frame) as exchange:
        end = await anext(exchange)
    if isinstance(end, Failed):
        raise end.to_error()
    await _refresh(client, key)
    return was_loaded


async def _refresh(client: WorkerClient, key: str) -> int | None:
    """Bring the gateway's picture of a worker up to date. Returns the bundle's bytes there."""
    async with client.submit(Stats(secrets.token_hex(8))) as exchange:
        end = await anext(exchange)
    if not isinstance(end, Result) or end.stats is None:
        return None
    return next((b.size_bytes for b in end.stats.bundles if b.key == key), None)


def _require_loadable(entry: Entry) -> None:
    require_whole(entry)
    require_local(entry)
    if entry.family is None:
        raise TaskNotSupported(f"nothing on this server can load {entry.name}", param="model")
