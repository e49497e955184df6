"""`TaskRunner`: runs accepted requests on an engine's thread, one alone or several as one batch."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import structlog

from onebox.core.cancel import interruptible
from onebox.core.contracts import Bundle, Device
from onebox.core.decoding import EncodedTask, Generation, Prompt
from onebox.core.errors import AppError, InferenceFailed, InvalidInput, WorkerLost
from onebox.core.piecework import Piece, PieceTask, Piecework
from onebox.core.results import Output
from onebox.engines.work import Work
from onebox.hardware.determinism import Deterministic, lacks_deterministic_form
from onebox.hardware.device_failure import is_device_failure
from onebox.hardware.peak import PeakMeter
from onebox.runtime.worker.context import Context
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
        context = Context(requests, between_steps, lean)
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
        assert isinstance(request.prepared, Prompt)
        request.start()
        context = Context([request], lambda: None, lean=False)
        context.check()
        return request.task.open(bundle, request.input, request.prepared, context)

    def most_open(self, work: Work) -> int:
        request: Request = work.request
        return request.task.max_open if isinstance(request.task, PieceTask) else 0

    def begin(self, work: Work, wake: Callable[[], None]) -> Piecework:
        """Let a request's pieces come. Its own context lives as long as it does."""
        request: Request = work.request
        assert isinstance(request.prepared, Piecework)
        context = Context([request], lambda: None, lean=False)
        context.check()
        request.prepared.start(context, wake)
        return request.prepared

    def choose(self, work: Work, pieces: Sequence[Piece]) -> Sequence[Piece]:
        request: Request = work.request
        assert isinstance(request.task, PieceTask)
        return request.task.choose(pieces, request.entry, self._device)

    def compute(
        self,
        works: Sequence[Work],
        pieces: Sequence[Piece],
        bundle: Bundle,
        between_steps: Callable[[], None],
        *,
        lean: bool,
    ) -> list[Any]:
        """A round of pieces of these requests."""
        requests: list[Request] = [work.request for work in works]
        task = requests[0].task
        assert isinstance(task, PieceTask)
        for request in requests:
            request.start()
        context = Context(requests, between_steps, lean)
        context.check()
        self._last_run = next(self._runs)
        self._active += 1
        try:
            with (
                interruptible(context.check_alive),
                context.mode(),
                self._explaining(context),
            ):
                return task.compute(bundle, pieces, context)
        finally:
            self._active -= 1

    def finish(self, work: Work, result: Generation | Piecework) -> None:
        request: Request = work.request
        request.finish(result.outputs())

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

    def _run(self, context: Context, bundle: Bundle, run: int) -> None:
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

    def _outputs(self, context: Context, bundle: Any) -> list[list[Output]]:
        first = context.requests[0]
        assert first.task is not None
        with self._explaining(context):
            if len(context.requests) == 1:
                return [first.task.run(bundle, first.input, context)]
            return first.task.run_batch(bundle, [r.input for r in context.requests], context)

    @contextlib.contextmanager
    def _explaining(self, context: Context) -> Iterator[None]:
        """What torch raises in the body is told in the words of `core/errors.py` if it can be."""
        try:
            yield
        except RuntimeError as error:
            if context.deterministic and lacks_deterministic_form(error):
                raise InvalidInput(
                    f"{context.entry.name} uses an operation that has no deterministic form on "
                    f"{context.device.id}; leave deterministic out",
                    param="deterministic",
                ) from error
            if is_device_failure(error):
                log.exception("device_failed", device=context.device.id)
                self.failure = f"the device {context.device.id} failed"
                raise WorkerLost(f"{self.failure}; its worker is being restarted") from None
            raise

    def _to_measure(self, context: Context) -> tuple[str, str, str] | None:
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
