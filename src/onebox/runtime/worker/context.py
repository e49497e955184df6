"""`Context`: the running task's way to the outside."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.errors import Cancelled
from onebox.core.media import MediaRef
from onebox.core.results import Output
from onebox.hardware.determinism import Deterministic
from onebox.runtime.wire import Delta, Progress, Submit
from onebox.runtime.worker.request import Request


@dataclass(slots=True)
class Context:
    """A `RunContext`, for one request or a batch of them.

    A member of a batch that is cancelled or out of time is answered at the next step, and the
    others go on; when none is left the run stops.
    """

    requests: list[Request]
    between_steps: Callable[[], None]
    lean: bool
    _mode: Deterministic | None = None

    @property
    def device(self) -> Device:
        return self.requests[0].around.device

    @property
    def entry(self) -> Entry:
        return self.requests[0].entry

    @property
    def deterministic(self) -> bool:
        request = self.requests[0]
        return request.task is not None and request.task.is_deterministic(request.input)

    @contextlib.contextmanager
    def mode(self) -> Iterator[None]:
        """Deterministic operators for the body, if the request wants them."""
        if not self.deterministic:
            yield
            return
        with Deterministic(self.device) as self._mode:
            yield

    def check(self) -> None:
        for request in self.requests:
            reason = request.token.stopped()
            if reason is not None and len(self.requests) > 1:
                request.fail(reason)
        self.check_alive()

    def check_alive(self) -> None:
        """Raise when nobody wants the result any more."""
        reason = None
        for request in self.requests:
            reason = request.token.stopped()
            if reason is None and not request.answered:
                return
        raise reason or Cancelled("nobody waits for the result")

    def hand_over(self) -> None:
        self.check()
        with self._mode.suspended() if self._mode else contextlib.nullcontext():
            self.between_steps()
        self.check()

    def step(self, step: int, steps: int) -> None:
        self.check()
        for request in self.requests:
            if not request.answered:
                request.around.emit(Progress(request.frame.id, step, steps))
        self.hand_over()

    def delta(self, data: dict[str, Any]) -> None:
        for request in self.requests:
            if not request.answered:
                request.around.emit(Delta(request.frame.id, data))

    def part(self, output: Output) -> None:
        for request in self.requests:
            if not request.answered:
                request.part(output)

    def preview(self, request: int, picture: int, output: Output) -> None:
        self.requests[request].preview(picture, output)

    @property
    def companions(self) -> Mapping[str, Entry]:
        # A decoder for previews is wanted by some of a batch only.
        frames = (request.frame for request in self.requests)
        all_of_them = [frame.companions for frame in frames if isinstance(frame, Submit)]
        return {slot: entry for companions in all_of_them for slot, entry in companions.items()}

    def read(self, media: MediaRef) -> bytes:
        return self.requests[0].read(media)
