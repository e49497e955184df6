"""What a memory pool may give to models now. The host's memory is shared with other programs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

from onebox.core.contracts import Device
from onebox.hardware.memory import HOST_POOL, budget_bytes, host_used_by_others
from onebox.runtime.worker_client import WorkerClient

# Looking costs half a millisecond, and what other programs hold does not change that fast.
LOOK_AGAIN_S = 0.25


class PoolLimit:
    """Called with a device and what its pool had when its worker started.

    Args:
        setting: `ONEBOX_MEMORY_BUDGET`.
        clients: the workers, whose own memory is not that of others.
        used_by_others: measures the host's memory; given a device, our processes, and what they
            hold by way of a graphics driver.
    """

    def __init__(
        self,
        setting: str | None,
        clients: Callable[[], Iterable[WorkerClient]],
        used_by_others: Callable[..., int] = host_used_by_others,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._setting = setting
        self._clients = clients
        self._used_by_others = used_by_others
        self._clock = clock
        self._looked: float | None = None
        self._others = 0

    def __call__(self, device: Device, nominal_bytes: int) -> int:
        if device.pool != HOST_POOL:
            return nominal_bytes
        now = self._clock()
        if self._looked is None or now - self._looked >= LOOK_AGAIN_S:
            self._looked, self._others = now, self._look(device)
        limit = budget_bytes(device, self._setting, used_by_others=self._others)
        return min(nominal_bytes, limit)

    def _look(self, device: Device) -> int:
        up = [client for client in self._clients() if client.hello is not None]
        pids = [os.getpid(), *(client.hello.pid for client in up if client.hello is not None)]
        unified_bytes = sum(map(_loaded_bytes, up))
        return self._used_by_others(device, pids, unified_bytes=unified_bytes)


def _loaded_bytes(client: WorkerClient) -> int:
    """Bytes of models in unified memory, which the system does not count as the process's."""
    if client.last_stats is None or not client.uses_unified_memory():
        return 0
    return sum(bundle.size_bytes for bundle in client.last_stats.bundles)
