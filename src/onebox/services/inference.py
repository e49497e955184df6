"""A request's way from a task's input to its artifacts (steps 4 to 7 of the path)."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import partial

import structlog
from pydantic import BaseModel

from onebox.core.contracts import Device, TaskDefaults
from onebox.core.decoding import DecodeTask
from onebox.core.errors import (
    AppError,
    Cancelled,
    ModelBroken,
    OutOfMemory,
)
from onebox.core.media import Spool
from onebox.core.plugins import TASKS
from onebox.runtime.exchange import Exchange
from onebox.runtime.wire import Delta, Event, Failed, Loading, Result, Started, Submit
from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.admission import Admission, Ticket
from onebox.services.authenticator import Caller
from onebox.services.catalogue import Catalogue
from onebox.services.metrics import Metrics
from onebox.services.request import Options, Outcome, Prepared, require_task
from onebox.services.running import RunningRequest, RunningRequests
from onebox.services.sizing import Sizing
from onebox.services.spooling import Spooling
from onebox.services.usage import token_counts

log = structlog.get_logger(__name__)


class Inference:
    """Resolves models, queues requests at a worker and collects their results."""

    def __init__(
        self,
        catalogue: Catalogue,
        pool: WorkerPool,
        spool: Spool,
        metrics: Metrics,
        admission: Admission,
        running: RunningRequests,
        sizing: Sizing,
        defaults: TaskDefaults,
        *,
        timeout_s: float,
        log_prompts: bool,
    ) -> None:
        self._catalogue = catalogue
        self._pool = pool
        self._spooling = Spooling(spool)
        self._metrics = metrics
        self._admission = admission
        self._running = running
        self._sizing = sizing
        self._defaults = defaults
        self._timeout_s = timeout_s
        self._log_prompts = log_prompts

    async def prepare(
        self,
        task_name: str,
        request: BaseModel,
        *,
        model: str | None,
        caller: Caller,
        options: Options,
    ) -> Prepared:
        """Find the model and fill in the input.

        Raises ModelNotFound, ModelBroken, TaskNotSupported, InvalidInput.
        """
        task = TASKS[task_name]
        entry = await self._catalogue.find(task_name, model)
        # For the line that the access log writes when the request has ended.
        structlog.contextvars.bind_contextvars(task=task_name, model=entry.name)
        require_task(entry, task_name)
        resolved = task.resolve(request, entry, self._defaults)
        timeout_s = min(options.timeout_s or self._timeout_s, self._timeout_s)
        return Prepared(
            id=secrets.token_hex(8),
            task=task,
            entry=entry,
            input=resolved,
            caller=caller.id,
            options=options,
            deadline=time.monotonic() + timeout_s,
        )

    async def run(self, prepared: Prepared) -> Outcome:
        """Raises the AppError that the request ended in."""
        async with self._exchange(prepared, only_end=True) as exchange:
            return await self._collect(prepared, await anext(exchange))

    async def stream(self, prepared: Prepared) -> AsyncGenerator[Event | Outcome, None]:
        """Events as they come, then the Outcome. Leaving early cancels. Raises as `run` does."""
        outcome: Outcome | None = None
        async with self._exchange(prepared, only_end=False) as exchange:
            writes = isinstance(prepared.task, DecodeTask)
            started = time.monotonic() if writes else None
            async for event in exchange:
                if isinstance(event, Result | Failed):
                    outcome = await self._collect(prepared, event)
                    continue
                if isinstance(event, Delta) and started is not None:
                    self._metrics.first_token(prepared.entry.name, time.monotonic() - started)
                    started = None
                yield event
        # It has ended, however long its client takes to read this.
        assert outcome is not None
        yield outcome

    @contextlib.asynccontextmanager
    async def _exchange(self, prepared: Prepared, *, only_end: bool) -> AsyncIterator[Exchange]:
        """The request at its worker; known among the running ones, and counted when it ends."""
        running = self._enter(prepared)
        status = "cancelled"
        try:
            async with self._admitted(prepared, running, only_end) as exchange:
                yield exchange
            status = "ok"
        except AppError as error:
            status = error.code
            if isinstance(error, OutOfMemory) and error.retry_after_s is None:
                worker, key = running.worker or 0, prepared.entry.key
                error.retry_after_s = self._admission.retry_after_s(worker, key)
            raise
        except Exception:
            status = AppError.code
            raise
        finally:
            self._running.leave(running)
            self._metrics.prediction(prepared.task.name, prepared.entry.name, status)

    @contextlib.asynccontextmanager
    async def _admitted(
        self, prepared: Prepared, running: RunningRequest, only_end: bool
    ) -> AsyncIterator[Exchange]:
        entry, spooled = prepared.entry, list[str]()
        client = await self._place(prepared, running)
        try:
            with self._admission.enter(
                client.index, entry.key, entry.name, prepared.caller
            ) as ticket:
                request = await self._spooling.put_large_parts(prepared.input, spooled)
                submit = await self._submit_frame(prepared, request, client)
                _attach(running, client, submit.id)
                observe = self._observer(prepared, client, running, ticket)
                async with client.submit(submit, observe, only_end=only_end) as exchange:
                    yield exchange
        finally:
            self._spooling.discard(spooled)

    def _enter(self, prepared: Prepared) -> RunningRequest:
        return self._running.enter(
            prepared.id,
            prepared.options.client_id,
            prepared.caller,
            task=prepared.task.name,
            model=prepared.entry.name,
            key=prepared.entry.key,
            priority=prepared.options.priority,
        )

    async def _place(self, prepared: Prepared, running: RunningRequest) -> WorkerClient:
        if self._pool.ready():
            return await self._placed(prepared)
        # Only so many may wait for a worker to come up, and who is cancelled waits no longer.
        with self._admission.lobby():
            placing = asyncio.ensure_future(self._placed(prepared))
            running.on_cancel = partial(_stop, placing)
            try:
                return await placing
            except asyncio.CancelledError:
                if running.cancelled:
                    raise Cancelled("the request was cancelled") from None
                raise

    async def _placed(self, prepared: Prepared) -> WorkerClient:
        async def needed_bytes(device: Device) -> int:
            return sum(await self._sizes(prepared, device))

        return await self._pool.place(prepared.entry.key, needed_bytes, prepared.left_s())

    async def _sizes(self, prepared: Prepared, device: Device) -> tuple[int, int]:
        """What the weights and the work are expected to take there."""
        weights = await self._sizing.weights(prepared.entry, device)
        working = self._sizing.working(prepared.entry, prepared.task, prepared.input, device)
        return weights.expected_bytes, working.expected_bytes

    async def _submit_frame(
        self, prepared: Prepared, request: BaseModel, client: WorkerClient
    ) -> Submit:
        assert client.hello is not None
        weights_bytes, working_bytes = await self._sizes(prepared, client.hello.device)
        return Submit(
            id=prepared.id,
            task=prepared.task.name,
            entry=prepared.entry,
            # Not dumped: of half a million token ids a copy takes as long as ten requests.
            input=dict(request),
            caller=prepared.caller,
            priority=prepared.options.priority,
            timeout_s=prepared.left_s(),
            estimate_bytes=weights_bytes,
            reserve_bytes=working_bytes,
        )

    def _observer(
        self, prepared: Prepared, client: WorkerClient, running: RunningRequest, ticket: Ticket
    ) -> Callable[[Event], None]:
        """Follows the events of a request for all who ask about it, and remembers its sizes."""
        assert client.hello is not None
        device = client.hello.device

        def observe(event: Event) -> None:
            running.observe(event)
            match event:
                case Started():
                    ticket.started()
                case Loading(size_bytes=int(size_bytes)):
                    self._sizing.remember_weights(prepared.entry, device, size_bytes)
                case Result(peak_bytes=int(peak_bytes)):
                    self._sizing.remember_working(
                        prepared.entry, prepared.task, prepared.input, device, peak_bytes
                    )

        return observe

    async def _collect(self, prepared: Prepared, end: Event) -> Outcome:
        """What a request's last event brought. Raises the error that it tells of."""
        if isinstance(end, Failed):
            error = end.to_error()
            if isinstance(error, ModelBroken):
                self._catalogue.mark_broken(prepared.entry, error.message)
            raise error
        assert isinstance(end, Result)
        artifacts = await self._spooling.with_bytes(end.artifacts)
        timing = end.timing
        structlog.contextvars.bind_contextvars(
            queue_s=round(timing.queue_s, 3), run_s=round(timing.run_s, 3)
        )
        self._metrics.timing(prepared.task.name, prepared.entry.name, end.timing)
        if isinstance(prepared.task, DecodeTask):
            self._metrics.tokens(prepared.entry.name, token_counts(artifacts))
        if self._log_prompts:
            log.info("finished", task=prepared.task.name, **_texts(prepared.input))
        return Outcome(prepared, artifacts, end.timing)


def _stop(task: asyncio.Future[WorkerClient]) -> None:
    task.cancel()


def _attach(running: RunningRequest, client: WorkerClient, wire_id: str) -> None:
    """From now on a cancel goes to the worker. Raises Cancelled when one came before."""
    if running.cancelled:
        raise Cancelled("the request was cancelled")
    running.worker = client.index
    running.state = "queued"
    running.on_cancel = lambda: client.cancel(wire_id)


def _texts(request: BaseModel) -> dict[str, str]:
    """What a client wrote: prompts and other text of the input."""
    return {name: value for name, value in request if isinstance(value, str)}
