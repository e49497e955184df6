"""`TaskRunner`: runs accepted requests on an engine's thread, one alone or several as one batch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from onebox.core.cancel import interruptible
from onebox.core.contracts import Bundle, Device, Entry
from onebox.core.decoding import EncodedTask, Generation
from onebox.core.errors import AppError, Cancelled, InferenceFailed, InvalidInput, WorkerLost
from onebox.core.media import MediaRef
from onebox.core.results import Output
from onebox.engines.work import Work
from onebox.hardware.determinism import Deterministic, lacks_deterministic_form
from onebox.hardware.device_failure import is_device_failure
from onebox.hardware.peak import PeakMeter
from onebox.runtime.wire import Delta, Progress
from onebox.runtime.worker.request import Request

log = structlog.get_logger(__name__)


class TaskRunner:
    """The `Runner` of all engines of one worker.

    It also measures the working memory of runs that had the process to themselves.

    Attributes:
        failure: why nothing can run on the device any more, if that is so.

    Args:
        create_meter: makes what measures one run.
    """

    def __init__(
        self, device: Device, create_meter: Callable[[Device], PeakMeter] = PeakMeter
    ) -> None:
        self.failure: str | None = None
        self._device = device
        self._create_meter = create_meter
        self._runs = itertools.count(1)
        self._last_run = 0
        self._active = 0
        self._disturbed = False
        self._measured: set[tuple[str, str, str]] = set()
        self._warm: set[tuple[str, str]] = set()

    def __call__(
        self,
        works: Sequence[Work],
        bundle: Bundle,
        between_steps: Callable[[], None],
        *,
        lean: bool,
    ) -> None:
        requests: list[Request] = [work.request for work in works]
        if requests[0].task is None:
            for request in requests:
                request.loaded()
            return
        for request in requests:
            request.start()
        context = _Context(requests, between_steps, lean)
        context.check()
        self._last_run = run = next(self._runs)
        self._active += 1
        try:
            self._run(context, bundle, run)
        finally:
            self._active -= 1

    def decodes(self, work: Work) -> bool:
        request: Request = work.request
        return isinstance(request.task, EncodedTask)

    def open(self, work: Work, bundle: Bundle) -> Generation:
        """Begin a text. Its own context lives as long as it is written."""
        request: Request = work.request
        assert isinstance(request.task, EncodedTask)
        assert request.prompt is not None
        request.start()
        context = _Context([request], lambda: None, lean=False)
        context.check()
        return request.task.open(bundle, request.input, request.prompt, context)

    def finish(self, work: Work, generation: Generation) -> None:
        request: Request = work.request
        request.finish(generation.outputs())

    def failed(self, error: BaseException) -> AppError:
        """What those are told whose step failed; it may have been the device."""
        if is_device_failure(error):
            self.failure = f"the device {self._device.id} failed"
            return WorkerLost(f"{self.failure}; its worker is being restarted")
        if lacks_deterministic_form(error):
            return InvalidInput(
                f"this model uses an operation that has no deterministic form on "
                f"{self._device.id}; leave deterministic out",
                param="deterministic",
            )
        return InferenceFailed("the model failed on this request; the server's log says why")

    def fixed_mode(self) -> contextlib.AbstractContextManager[Any]:
        return Deterministic(self._device)

    @contextlib.contextmanager
    def disturbed(self) -> Iterator[None]:
        """For what takes or frees much memory without being a run: no peak is measured beside it.

        One at a time, on any thread.
        """
        self._disturbed = True
        self._last_run = next(self._runs)
        try:
            yield
        finally:
            self._disturbed = False

    def _run(self, context: _Context, bundle: Bundle, run: int) -> None:
        measured = self._to_measure(context)
        meter = self._create_meter(self._device) if measured else None
        if meter is not None:
            meter.start()
        with interruptible(context.check_alive), context.mode():
            outputs = self._outputs(context, bundle)
        peak = meter.stop() if meter is not None else None
        if measured is None or self._last_run != run:
            # Something else shared the process, so the peak is not this run's alone.
            peak = None
        elif peak is not None:
            self._measured.add(measured)
        self._warm.add(_kind_of(context.requests[0]))
        for request, own in zip(context.requests, outputs, strict=True):
            if not request.answered:
                request.finish(own, peak)

    def _outputs(self, context: _Context, bundle: Any) -> list[list[Output]]:
        first = context.requests[0]
        assert first.task is not None
        try:
            if len(context.requests) == 1:
                return [first.task.run(bundle, first.input, context)]
            return first.task.run_batch(bundle, [r.input for r in context.requests], context)
        except RuntimeError as error:
            if context.deterministic and lacks_deterministic_form(error):
                raise InvalidInput(
                    f"{first.entry.name} uses an operation that has no deterministic form on "
                    f"{context.device.id}; leave deterministic out",
                    param="deterministic",
                ) from error
            if is_device_failure(error):
                log.exception("device_failed", device=context.device.id)
                self.failure = f"the device {context.device.id} failed"
                raise WorkerLost(f"{self.failure}; its worker is being restarted") from None
            raise

    def _to_measure(self, context: _Context) -> tuple[str, str, str] | None:
        """What this run's peak would be remembered under; None when it should not be measured.

        A first run also pulls in libraries and weights that are mapped from disk.
        """
        request = context.requests[0]
        assert request.task is not None
        size_class = request.task.size_class(request.input)
        key = (*_kind_of(request), size_class)
        alone = len(context.requests) == 1 and self._active == 1 and not self._disturbed
        is_usual = _kind_of(request) in self._warm and not context.lean
        wanted = alone and is_usual and size_class != "" and key not in self._measured
        return key if wanted else None


def _kind_of(request: Request) -> tuple[str, str]:
    assert request.task is not None
    return request.entry.key, request.task.name


@dataclass(slots=True)
class _Context:
    """The running task's way to the outside (`RunContext`), for one request or a batch of them.

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

    def step(self, step: int, steps: int) -> None:
        self.check()
        for request in self.requests:
            if not request.answered:
                request.around.emit(Progress(request.frame.id, step, steps))
        with self._mode.suspended() if self._mode else contextlib.nullcontext():
            self.between_steps()
        self.check()

    def delta(self, data: dict[str, Any]) -> None:
        for request in self.requests:
            if not request.answered:
                request.around.emit(Delta(request.frame.id, data))

    def read(self, media: MediaRef) -> bytes:
        return self.requests[0].read(media)
