"""A pool of workers that take notes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from onebox.core.contracts import Device
from onebox.runtime.worker_pool import WorkerPool
from tests.unit.runtime.clients import CPU, NotingClient, create_pools, submit

REPLICATE_AT = 4


def card(index: int) -> Device:
    """One with memory of its own."""
    return msgspec.structs.replace(CPU, id=f"cuda:{index}", kind="cuda", pool=f"cuda:{index}")


class Fleet:
    """A pool of workers that take notes, each with a memory pool of `BUDGET` bytes."""

    def __init__(self, folder: Path, *states: str, chosen: int = 1) -> None:
        self._folder = folder
        self._pools = create_pools()
        self._chosen = chosen
        self.pool = WorkerPool(self._create, self._pools, replicate_at=REPLICATE_AT)
        self.pool.clients = [self._create(i, state) for i, state in enumerate(states)]
        self._requests = 0

    def __getitem__(self, index: int) -> NotingClient:
        return self.pool.clients[index]

    def _create(self, index: int, state: str = "starting") -> NotingClient:
        return NotingClient(
            self._folder, index, state, pools=self._pools, device=card(index), chosen=self._chosen
        )

    def keep_busy(self, index: int, requests: int, key: str = "other") -> None:
        for _ in range(requests):
            self._requests += 1
            self[index].submit(submit(str(self._requests), key))

    async def place(self, key: str = "a", needed_bytes: int = 10, **options: Any) -> int:
        async def needed(device: Device) -> int:
            return needed_bytes

        return (await self.pool.place(key, needed, **options)).index
