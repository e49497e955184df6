"""`Dispatch`: a prepared request's way to a worker and its place there (steps 4 to 6)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel

from onebox.core.contracts import Device, Entry
from onebox.core.errors import Cancelled
from onebox.core.logs import current_origin
from onebox.core.media import Spool
from onebox.core.results import Artifact
from onebox.runtime.exchange import Exchange
from onebox.runtime.wire import Event, Loading, Result, Started, Submit
from onebox.runtime.worker_client import WorkerClient
from onebox.runtime.worker_pool import WorkerPool
from onebox.services.admission import Admission, Ticket
from onebox.services.request import Prepared
from onebox.services.running import RunningRequest
from onebox.services.sizing import Sizing
from onebox.services.spooling import Spooling

if TYPE_CHECKING:
    # OpenTelemetry is not there where nobody wants traces.
    from onebox.services.tracing.model_span import ModelSpan
    from onebox.services.tracing.tracing import Tracing


class Dispatch:
    """Places requests at workers, admits them, and follows them there."""

    def __init__(
        self,
        pool: WorkerPool,
        spool: Spool,
        admission: Admission,
        sizing: Sizing,
        tracing: Tracing | None = None,
        upstreams: Mapping[str, WorkerClient] | None = None,
    ) -> None:
        """`upstreams`: clients of other servers by their names."""
        self._pool = pool
        self._spooling = Spooling(spool)
        self._admission = admission
        self._sizing = sizing
        self._tracing = tracing
        self._upstreams = upstreams or {}

    @contextlib.asynccontextmanager
    async def exchange(
        self, prepared: Prepared, running: RunningRequest, *, only_end: bool
    ) -> AsyncIterator[Exchange]:
        """The request at its worker.

        Args:
            running: what it is part of; a cancel of that ends it.
            only_end: of its events only the last one is wanted.
        """
        spooled = list[str]()
        with self._traced(prepared, streams=not only_end) as span:
            if prepared.entry.upstream is not None:
                client = self._upstreams[prepared.entry.upstream]
                with self._admitted(prepared, running, client.index) as ticket:
                    submit = _remote_frame(prepared)
                    _attach(running, client, submit.id)
                    observe = _follower(running, ticket)
                    if span is not None:
                        observe = span.following(observe)
                    async with client.submit(submit, observe, only_end=only_end) as exchange:
                        yield exchange
                return
            client = await self._place(prepared, running)
            try:
                with (
                    self._spooling.room(prepared.input, may_refuse=_may_refuse(running)),
                    self._admitted(prepared, running, client.index) as ticket,
                ):
                    request = await self._spooling.put_large_parts(prepared.input, spooled)
                    submit = await self._submit_frame(prepared, request, client)
                    _attach(running, client, submit.id)
                    observe = await self._observer(prepared, client, running, ticket)
                    if span is not None:
                        observe = span.following(observe)
                    async with client.submit(submit, observe, only_end=only_end) as exchange:
                        yield exchange
            finally:
                self._spooling.discard(spooled)

    def _traced(
        self, prepared: Prepared, *, streams: bool
    ) -> contextlib.AbstractContextManager[ModelSpan | None]:
        if self._tracing is None:
            return contextlib.nullcontext()
        return self._tracing.inference(prepared, streams=streams)

    def retry_after_s(self, prepared: Prepared, running: RunningRequest) -> float | None:
        """When trying the request again may make sense."""
        return self._admission.retry_after_s(running.worker or 0, prepared.entry.key)

    async def with_bytes(self, artifacts: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        """The artifacts of a worker, each with its bytes."""
        return await self._spooling.with_bytes(artifacts)

    @contextlib.contextmanager
    def _admitted(
        self, prepared: Prepared, running: RunningRequest, worker: int
    ) -> Iterator[Ticket | None]:
        """In the queue of a worker; the first part of a request may be refused there.

        One that was admitted already stands in nobody's way: it goes last, and is not counted.
        """
        if running.admitted:
            yield None
            return
        entry, ticket, ok = prepared.entry, running.ticket, False
        if ticket is None:
            most = prepared.max_concurrent
            ticket = self._admission.enter(worker, entry.key, entry.name, prepared.caller, most)
            running.ticket = ticket
        else:
            ticket.go_to(worker, entry.key)
        try:
            yield ticket
            ok = True
        finally:
            ticket.leave(ok)

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
        beside = await self._beside_bytes(prepared, device)
        return weights.expected_bytes, working.expected_bytes + beside

    async def _beside_bytes(self, prepared: Prepared, device: Device) -> int:
        """What the companions take while the request runs."""
        others = {entry.key: entry for entry in _beside(prepared).values()}
        sizes = [await self._sizing.weights(entry, device) for entry in others.values()]
        return sum(size.estimate_bytes for size in sizes)

    async def _submit_frame(
        self, prepared: Prepared, request: BaseModel, client: WorkerClient
    ) -> Submit:
        assert client.hello is not None
        weights_bytes, working_bytes = await self._sizes(prepared, client.hello.device)
        return Submit(
            id=prepared.id,
            task=prepared.task.name,
            entry=prepared.entry.as_loaded(),
            # Not dumped: of half a million token ids a copy takes as long as ten requests.
            input=dict(request),
            caller=prepared.caller,
            priority=prepared.options.priority,
            timeout_s=prepared.left_s(),
            estimate_bytes=weights_bytes,
            reserve_bytes=working_bytes,
            companions={slot: it.as_loaded() for slot, it in _beside(prepared).items()},
            origin=current_origin(),
        )

    async def _observer(
        self,
        prepared: Prepared,
        client: WorkerClient,
        running: RunningRequest,
        ticket: Ticket | None,
    ) -> Callable[[Event], None]:
        """Follows the events of a request for all who ask about it, and remembers its sizes."""
        assert client.hello is not None
        device = client.hello.device
        beside = await self._beside_bytes(prepared, device)

        def observe(event: Event) -> None:
            running.observe(event)
            match event:
                case Started() if ticket is not None:
                    ticket.started()
                case Loading(size_bytes=int(size_bytes)):
                    self._sizing.remember_weights(prepared.entry, device, size_bytes)
                case Result(peak_bytes=int(peak_bytes)):
                    own_bytes = max(0, peak_bytes - beside)
                    self._sizing.remember_working(
                        prepared.entry, prepared.task, prepared.input, device, own_bytes
                    )

        return observe


def _beside(prepared: Prepared) -> dict[str, Entry]:
    """The companions that are used while it runs: what has tasks of its own does a part by itself,
    before or after.
    """
    return {slot: entry for slot, entry in prepared.companions.items() if not entry.tasks}


def _may_refuse(running: RunningRequest) -> bool:
    """Whether it is the first part of a request that was not admitted."""
    return running.ticket is None and not running.admitted


def _stop(task: asyncio.Future[WorkerClient]) -> None:
    task.cancel()


def _attach(running: RunningRequest, client: WorkerClient, wire_id: str) -> None:
    """From now on a cancel goes to the worker. Raises Cancelled when one came before."""
    if running.cancelled:
        raise Cancelled("the request was cancelled")
    running.worker = client.index
    running.queued()
    running.on_cancel = lambda: client.cancel(wire_id)


def _remote_frame(prepared: Prepared) -> Submit:
    """For another server: with all bytes in it, for nothing is passed on through files."""
    return Submit(
        id=prepared.id,
        task=prepared.task.name,
        entry=prepared.entry,
        # A field that was left out is not there in what was made without validation.
        input=prepared.input.model_dump(warnings=False),
        caller=prepared.caller,
        priority=prepared.options.priority,
        timeout_s=prepared.left_s(),
        estimate_bytes=0,
    )


def _follower(running: RunningRequest, ticket: Ticket | None) -> Callable[[Event], None]:
    """Follows the events of a request that takes nothing here."""

    def observe(event: Event) -> None:
        running.observe(event)
        if isinstance(event, Started) and ticket is not None:
            ticket.started()

    return observe
