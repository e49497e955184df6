"""`ModelControl`: what is done to models apart from running them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, Task, TaskDefaults
from onebox.core.errors import InvalidInput, TaskNotSupported
from onebox.core.plugins import TASKS
from onebox.registry.registry import Registry
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.model_files import remove_checkpoints
from onebox.services.request import require_local
from onebox.services.residency import Residency
from onebox.services.sizing import Sizing, Weights, Working


@dataclass(frozen=True, slots=True)
class Rescan:
    """What a scan of the model folders found; a changed model counts as added and removed."""

    models: int
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Work:
    """A task's input for which memory is asked about; nothing in it is left open."""

    task: Task[Any]
    request: BaseModel

    @property
    def size_class(self) -> str:
        return self.task.size_class(self.request)


@dataclass(frozen=True, slots=True)
class Need:
    """What a model takes on the device of one worker, beside what there is.

    Attributes:
        reserve: working memory of the task, if one was named.
        loaded_bytes: its bytes in that worker now; None when it is not loaded.
        budget_bytes: all that the memory pool of the device has for models.
        share_bytes: the worker's part of it.
    """

    worker: int
    device: Device
    weights: Weights
    reserve: Working | None
    loaded_bytes: int | None
    budget_bytes: int
    share_bytes: int

    @property
    def fits(self) -> bool:
        """Whether it ever can, with everything else gone."""
        needed = self.weights.expected_bytes
        if self.reserve is not None:
            needed += self.reserve.expected_bytes
        return needed <= self.budget_bytes


class ModelControl:
    """Unloads, removes, rescans and tells sizes. Lives on the gateway's event loop."""

    def __init__(
        self,
        registry: Registry,
        pool: WorkerPool,
        pools: MemoryPools,
        residency: Residency,
        sizing: Sizing,
        *,
        model_dirs: Sequence[Path],
        defaults: TaskDefaults,
    ) -> None:
        self._registry = registry
        self._pool = pool
        self._pools = pools
        self._residency = residency
        self._sizing = sizing
        self._model_dirs = tuple(model_dirs)
        self._defaults = defaults

    async def delete(self, entry: Entry, *, files: bool) -> list[str]:
        """Unload a model; with `files`, also remove every path that holds it.

        Returns the paths that were removed. Raises ModelBusy, InvalidInput.
        """
        await self._residency.unload(entry, force=False)
        if not files:
            return []
        paths = (entry.path, *entry.other_paths)
        try:
            return await asyncio.to_thread(remove_checkpoints, paths, self._model_dirs)
        finally:
            await asyncio.to_thread(self._registry.rescan)

    async def rescan(self) -> Rescan:
        """Look through the model folders now. What is still being written is left for later."""
        before = {entry.key for entry in self._registry.entries()}
        await asyncio.to_thread(self._registry.rescan)
        after = {entry.key for entry in self._registry.entries()}
        return Rescan(len(after), added=len(after - before), removed=len(before - after))

    def work(self, entry: Entry, task_name: str, request: BaseModel) -> Work:
        """A task's input with what it leaves open filled in.

        Raises TaskNotSupported, InvalidInput.
        """
        if task_name not in entry.tasks:
            raise TaskNotSupported(
                f"{entry.name} cannot do {task_name}; it can do: {', '.join(entry.tasks)}",
                param="task",
                details={"task": task_name, "tasks": list(entry.tasks)},
            )
        task = TASKS[task_name]
        return Work(task, task.resolve(request, entry, self._defaults))

    async def needs(self, entry: Entry, work: Work | None = None) -> list[Need]:
        """What the model takes on each device that is up, and the work with it.

        Raises TaskNotSupported for one of another server.
        """
        require_local(entry)
        return [await self._need(client, entry, work) for client in self._pool.ready()]

    async def _need(self, client: WorkerClient, entry: Entry, work: Work | None) -> Need:
        assert client.hello is not None
        device = client.hello.device
        reserve = None
        if work is not None:
            reserve = self._sizing.working(entry, work.task, work.request, device)
        return Need(
            worker=client.index,
            device=device,
            weights=await self._sizing.weights(entry, device),
            reserve=reserve,
            loaded_bytes=loaded_bytes(client).get(entry.key),
            budget_bytes=self._pools.limit_bytes(device.pool),
            share_bytes=self._pools.share_of(client),
        )


def loaded_bytes(client: WorkerClient) -> Mapping[str, int]:
    """Bytes of what is loaded in a worker by entry key, as last told."""
    bundles = client.last_stats.bundles if client.last_stats else ()
    return {bundle.key: bundle.size_bytes for bundle in bundles if bundle.state != "loading"}


def task_named(name: str) -> Task[Any]:
    """Raises InvalidInput for a task that there is not."""
    if name not in TASKS:
        raise InvalidInput(
            f"there is no task {name[:64]!r}; there are: {', '.join(sorted(TASKS))}", param="task"
        )
    return TASKS[name]
