"""`Live`: what a running attempt at a job does now. In memory only: it begins anew with each
attempt.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from onebox.runtime.wire import Delta, Event, Progress, Started
from onebox.services.running import RunningRequest

Phase = Literal["placing", "queued", "loading", "running"]

# The time of a step is the median of so many: one that waited for another request does not count.
RECENT_STEPS = 15


@dataclass(frozen=True, slots=True)
class Preview:
    """What the result looks like so far; `number` counts the previews of the attempt from 1."""

    data: bytes
    media_type: str
    number: int


class Live:
    """Follows the requests that an attempt makes, one after the other, and can end them.

    Lives on the gateway's event loop.

    Args:
        changed: called whenever something here is another than before.

    Attributes:
        version: counts the changes.
        preview: the last one.
        cancelled: whether it was told to end.
    """

    def __init__(
        self,
        changed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.version = 0
        self.preview: Preview | None = None
        self.cancelled = False
        self._changed = changed
        self._clock = clock
        self._requests: list[RunningRequest] = []
        # Of the newest request: its last step, when that came, and how long steps took.
        self._step = 0
        self._stepped_at: float | None = None
        self._step_times: deque[float] = deque(maxlen=RECENT_STEPS)

    @property
    def phase(self) -> Phase:
        """Where its newest request is: at no worker yet, waiting, waiting for weights, running."""
        return self._requests[-1].state if self._requests else "placing"

    @property
    def loading(self) -> float | None:
        """The fraction of the weights that is in memory, while they are loaded."""
        return self._requests[-1].loading if self._requests else None

    @property
    def step(self) -> int:
        return self._requests[-1].step if self._requests else 0

    @property
    def steps(self) -> int:
        """0 as long as it is not known."""
        return self._requests[-1].steps if self._requests else 0

    @property
    def fraction(self) -> float:
        """How much of its newest request is done, from 0 to 1."""
        return min(self.step / self.steps, 1.0) if self.steps else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds that the steps that are left will take, as measured; None before one was."""
        if not self._step_times or self._stepped_at is None:
            return None
        left_s = statistics.median(self._step_times) * (self.steps - self.step)
        return max(0.0, left_s - (self._clock() - self._stepped_at))

    def follow(self, request: RunningRequest) -> None:
        """A request begins as part of the attempt. One that comes too late is ended at once."""
        self._requests.append(request)
        request.on_event = partial(self._observe, request)
        self._forget_steps()
        if self.cancelled:
            request.cancel()

    def cancel(self) -> None:
        """End its requests, and those that are still to come."""
        self.cancelled = True
        for request in self._requests:
            request.cancel()

    def _observe(self, request: RunningRequest, event: Event) -> None:
        """What the worker tells of a request, which has noted it."""
        if request is not self._requests[-1]:
            return
        match event:
            case Started():
                self._forget_steps()
                self._stepped_at = self._clock()
            case Progress(step=step):
                self._measure(step)
            case Delta(data={"preview": bytes(data), "media_type": str(media_type)}):
                number = self.preview.number + 1 if self.preview else 1
                self.preview = Preview(data, media_type, number)
            case Delta():
                return
        self.version += 1
        self._changed()

    def _measure(self, step: int) -> None:
        now = self._clock()
        if self._stepped_at is not None and step > self._step:
            self._step_times.append((now - self._stepped_at) / (step - self._step))
        self._step, self._stepped_at = step, now

    def _forget_steps(self) -> None:
        self._step, self._stepped_at = 0, None
        self._step_times.clear()
