"""A request's way from a task's input to its artifacts (steps 4 to 7 of the path)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import structlog
from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, Priority, Task, TaskDefaults
from onebox.core.errors import (
    AppError,
    DeadlineExceeded,
    InferenceFailed,
    InvalidInput,
    ModelBroken,
    TaskNotSupported,
)
from onebox.core.media import MediaRef, Spool
from onebox.core.plugins import FAMILIES, TASKS
from onebox.core.results import Artifact, Timing
from onebox.registry.registry import Registry
from onebox.runtime.wire import SPOOL_ABOVE_BYTES, Event, Failed, Result, Submit
from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.metrics import Metrics

log = structlog.get_logger(__name__)

# How much longer than the worker the gateway waits: it only steps in when a worker hangs.
HANG_MARGIN_S = 5.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that may be queued: its model is known and its input leaves nothing open."""

    id: str
    task: Task[Any]
    entry: Entry
    input: BaseModel
    caller: str
    priority: Priority = "interactive"
    timeout_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request; every artifact has its bytes."""

    prepared: Prepared
    artifacts: tuple[Artifact, ...]
    timing: Timing


class Inference:
    """Resolves models, queues requests at a worker and collects their results."""

    def __init__(
        self,
        registry: Registry,
        pool: WorkerPool,
        spool: Spool,
        metrics: Metrics,
        defaults: TaskDefaults,
        *,
        timeout_s: float,
        log_prompts: bool,
    ) -> None:
        self._log_prompts = log_prompts
        self._registry = registry
        self._pool = pool
        self._spool = spool
        self._metrics = metrics
        self._defaults = defaults
        self._timeout_s = timeout_s
        self._estimates: dict[tuple[str, str], int] = {}

    async def prepare(
        self, task_name: str, request: BaseModel, *, model: str | None, caller: str
    ) -> Prepared:
        """Find the model and fill in the input.

        Raises ModelNotFound, ModelBroken, TaskNotSupported, InvalidInput.
        """
        task = TASKS[task_name]
        entry = await asyncio.to_thread(self._find, task_name, model)
        _require_task(entry, task_name)
        resolved = task.resolve(request, entry, self._defaults)
        return Prepared(
            secrets.token_hex(8), task, entry, resolved, caller, timeout_s=self._timeout_s
        )

    async def run(self, prepared: Prepared) -> Outcome:
        """Raises the AppError that the request ended in."""
        async with contextlib.aclosing(self.stream(prepared)) as events:
            async for event in events:
                if isinstance(event, Outcome):
                    return event
        raise InferenceFailed("the worker gave no answer")

    async def stream(self, prepared: Prepared) -> AsyncGenerator[Event | Outcome, None]:
        """Events as they come, then the Outcome. Leaving early cancels. Raises as `run` does."""
        status = "cancelled"
        try:
            async with contextlib.aclosing(self._events(prepared)) as events:
                async for event in events:
                    if isinstance(event, Failed):
                        raise event.to_error()
                    if isinstance(event, Result):
                        outcome = await self._collect(prepared, event)
                        status = "ok"
                        yield outcome
                    else:
                        yield event
        except AppError as error:
            status = error.code
            raise
        finally:
            self._metrics.prediction(prepared.task.name, prepared.entry.name, status)

    async def _events(self, prepared: Prepared) -> AsyncGenerator[Event, None]:
        client = await self._pool.place(prepared.entry.key)
        request, spooled = await asyncio.to_thread(self._spool_large_parts, prepared.input)
        try:
            submit = await self._submit_frame(prepared, request, client)
            deadline = asyncio.get_running_loop().time() + prepared.timeout_s + HANG_MARGIN_S
            async with contextlib.aclosing(client.submit(submit)) as events:
                while event := await _next_event(events, deadline, prepared.timeout_s):
                    yield event
        finally:
            for spool_id in spooled:
                self._spool.discard(spool_id)

    async def _submit_frame(
        self, prepared: Prepared, request: BaseModel, client: WorkerClient
    ) -> Submit:
        assert client.hello is not None
        return Submit(
            id=prepared.id,
            task=prepared.task.name,
            entry=prepared.entry,
            input=request.model_dump(),
            caller=prepared.caller,
            priority=prepared.priority,
            timeout_s=prepared.timeout_s,
            estimate_bytes=await self._estimate(prepared.entry, client.hello.device),
        )

    async def _estimate(self, entry: Entry, device: Device) -> int:
        """Bytes the weights take, from headers; read once per checkpoint and device."""
        key = (entry.key, device.id)
        if key not in self._estimates:
            family = FAMILIES[entry.family or ""]
            self._estimates[key] = await asyncio.to_thread(
                lambda: family.estimate(self._registry.on_disk(entry), device)
            )
        return self._estimates[key]

    def _spool_large_parts(self, request: BaseModel) -> tuple[BaseModel, list[str]]:
        """The input with its large binary parts in the spool, and their ids there."""
        large: dict[str, MediaRef] = {}
        for name in type(request).model_fields:
            value = getattr(request, name)
            if isinstance(value, MediaRef) and value.data and len(value.data) > SPOOL_ABOVE_BYTES:
                file_id = self._spool.put(value.data)
                large[name] = MediaRef(media_type=value.media_type, file_id=file_id)
        return request.model_copy(update=large), [media.file_id or "" for media in large.values()]

    async def _collect(self, prepared: Prepared, result: Result) -> Outcome:
        artifacts = [
            await asyncio.to_thread(self._with_bytes, artifact) for artifact in result.artifacts
        ]
        self._metrics.timing(prepared.task.name, prepared.entry.name, result.timing)
        log.info(
            "finished",
            task=prepared.task.name,
            model=prepared.entry.name,
            queue_s=round(result.timing.queue_s, 3),
            run_s=round(result.timing.run_s, 3),
            **(_texts(prepared.input) if self._log_prompts else {}),
        )
        return Outcome(prepared, tuple(artifacts), result.timing)

    def _with_bytes(self, artifact: Artifact) -> Artifact:
        if artifact.spool_id is None:
            return artifact
        return Artifact(
            artifact.media_type, self._spool.take(artifact.spool_id), None, artifact.meta
        )

    def _find(self, task_name: str, model: str | None) -> Entry:
        if model is None:
            entry = self._registry.default_for(task_name)
        else:
            entry = self._registry.resolve(model, task=task_name)
        return self._registry.ensure_fresh(entry)


async def _next_event(
    events: AsyncGenerator[Event, None], deadline: float, timeout_s: float
) -> Event | None:
    """The next event, or None after the last. Raises DeadlineExceeded when a worker hangs."""
    try:
        async with asyncio.timeout_at(deadline):
            return await anext(events, None)
    except TimeoutError:
        raise DeadlineExceeded(
            f"the request did not finish within {timeout_s:g} s", details={"timeout_s": timeout_s}
        ) from None


def _texts(request: BaseModel) -> dict[str, str]:
    """What a client wrote: prompts and other text of the input."""
    return {name: value for name, value in request if isinstance(value, str)}


def _require_task(entry: Entry, task_name: str) -> None:
    if entry.status == "broken":
        raise ModelBroken(f"{entry.name} cannot be used: {entry.reason}", param="model")
    if task_name not in entry.tasks:
        can = ", ".join(entry.tasks) or "nothing that this server knows"
        raise TaskNotSupported(
            f"{entry.name} cannot do {task_name}; it can do: {can}",
            param="model",
            details={"task": task_name, "tasks": list(entry.tasks)},
        )


def refuse_client_files(request: BaseModel) -> None:
    """A client names its files by upload only; a spool id in a request is not its own.

    Raises InvalidInput.
    """
    for name in type(request).model_fields:
        value = getattr(request, name)
        if isinstance(value, MediaRef) and value.file_id is not None:
            raise InvalidInput(f"{name}: there is no stored file of that id", param=name)
