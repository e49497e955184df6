"""Every request that is in the server now: what it does, and how to cancel it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from onebox.core.contracts import Priority
from onebox.core.errors import RequestIdTaken, RequestNotFound
from onebox.runtime.wire import Event, Loading, Progress, Started
from onebox.services.admission import Ticket
from onebox.services.usage.meter import Meter


@dataclass(slots=True, eq=False)
class RunningRequest:
    """One request between admission and answer. Lives on the gateway's event loop.

    Attributes:
        id: what the frames to the worker name it.
        client_id: what the client names it; unique among the requests of its caller.
        key: of the checkpoint; `model` is its name.
        entered: when it came, on the clock of `RunningRequests`.
        started: whether it has, or had, the device.
        loading: the fraction of the weights that is in memory, while they are being loaded.
        on_cancel: called once by `cancel`; tells whoever works on it.
        on_event: gets each event that `observe` has noted.
        admitted: it may not be refused for what else waits, and counts for nobody's bound.
        ticket: its place in the queues, from its first part to its end; none once admitted.
        meter: what it takes.
    """

    id: str
    client_id: str
    caller: str
    task: str
    model: str
    key: str
    priority: Priority
    entered: float
    state: Literal["placing", "queued", "loading", "running"] = "placing"
    worker: int | None = None
    step: int = 0
    steps: int = 0
    started: bool = False
    loading: float | None = None
    cancelled: bool = False
    on_cancel: Callable[[], None] | None = None
    on_event: Callable[[Event], None] | None = None
    admitted: bool = False
    ticket: Ticket | None = None
    meter: Meter = field(default_factory=Meter)

    def queued(self) -> None:
        """It waits at a worker, with all of its steps, or those of its next part, before it."""
        self.state, self.loading, self.started = "queued", None, False
        self.step = self.steps = 0

    def observe(self, event: Event) -> None:
        """Follow what the worker tells."""
        self.meter.observe(event)
        match event:
            case Loading(fraction=fraction) if fraction < 1:
                self.state, self.loading = "loading", fraction
            case Loading():
                # The weights are in; it still has to get the device. One that had it may go on.
                self.state, self.loading = "running" if self.started else "queued", None
            case Started():
                self.state, self.loading, self.started = "running", None, True
            case Progress(step=step, steps=steps):
                self.state, self.loading = "running", None
                self.step, self.steps = step, steps
        if self.on_event is not None:
            self.on_event(event)

    def cancel(self) -> None:
        """Ask for its end; further calls do nothing.

        Before `on_cancel` is set only `cancelled` tells: whoever sets it must look.
        """
        if self.cancelled:
            return
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()

    def public(self, now: float) -> dict[str, Any]:
        """What clients see. `progress` and `loading` are between 0 and 1, or None."""
        return {
            "id": self.client_id,
            "caller": self.caller,
            "task": self.task,
            "model": self.model,
            "priority": self.priority,
            "state": self.state,
            "step": self.step,
            "steps": self.steps,
            "progress": self.step / self.steps if self.steps else None,
            "loading": self.loading,
            "elapsed_s": round(now - self.entered, 3),
            # What runs on another server has a number below 0.
            "worker": self.worker if (self.worker or 0) >= 0 else None,
        }


class RunningRequests:
    """Owns the table of requests, oldest first. Lives on the gateway's event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: dict[tuple[str, str], RunningRequest] = {}

    def enter(
        self,
        id: str,
        client_id: str,
        caller: str,
        *,
        task: str,
        model: str,
        key: str,
        priority: Priority,
    ) -> RunningRequest:
        """Note a new request. Raises RequestIdTaken when the caller has one of that id."""
        if (caller, client_id) in self._requests:
            raise RequestIdTaken(
                f"your request {client_id} is still running; "
                "choose another id, or wait until it has ended",
                param="id",
                details={"id": client_id},
            )
        request = RunningRequest(
            id, client_id, caller, task, model, key, priority, entered=self._clock()
        )
        self._requests[caller, client_id] = request
        return request

    def leave(self, request: RunningRequest) -> None:
        """It has its answer; its id is free again. Further calls do nothing."""
        place = request.caller, request.client_id
        if self._requests.get(place) is request:
            del self._requests[place]

    def find(self, client_id: str, caller: str, *, any_caller: bool) -> list[RunningRequest]:
        """The caller's own request of that id; with `any_caller`, else those of others.

        Raises RequestNotFound.
        """
        own = self._requests.get((caller, client_id))
        found = [own] if own else []
        if not found and any_caller:
            found = [request for request in self if request.client_id == client_id]
        if not found:
            raise RequestNotFound(
                f"no request {client_id} is running; it may have ended, or be another caller's",
                param="id",
                details={"id": client_id},
            )
        return found

    def of(self, caller: str) -> list[RunningRequest]:
        return [request for request in self if request.caller == caller]

    def public(self) -> list[dict[str, Any]]:
        """All of them as plain values."""
        now = self._clock()
        return [request.public(now) for request in self]

    def __iter__(self) -> Iterator[RunningRequest]:
        """A snapshot: requests may leave while it is gone through."""
        return iter(list(self._requests.values()))

    def __len__(self) -> int:
        return len(self._requests)
