"""`Request`: one accepted Submit or Load inside the worker, from check to its single answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from onebox.core.cancel import CancelToken, interruptible
from onebox.core.contracts import Device, Entry, Task
from onebox.core.decoding import EncodedTask, Prompt
from onebox.core.errors import AppError, Cancelled, InferenceFailed, InvalidInput, TaskNotSupported
from onebox.core.logs import Origin, Owned, logged_for
from onebox.core.media import MediaRef, Spool
from onebox.core.piecework import PieceTask, Piecework
from onebox.core.plugins import ENCODERS, FAMILIES, TASKS
from onebox.core.results import Artifact, Output, Timing
from onebox.engines.work import Work
from onebox.runtime.wire import (
    SPOOL_ABOVE_BYTES,
    Delta,
    Event,
    Failed,
    Load,
    Loading,
    Result,
    Started,
    Submit,
)
from onebox.runtime.worker.parts import Parts

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every request of a worker uses."""

    device: Device
    emit: Callable[[Event], None]
    spool: Spool
    encoders: Executor


@dataclass(slots=True, eq=False)
class Request:
    """Answers exactly once; whatever comes after that is ignored."""

    frame: Submit | Load
    around: Surroundings
    task: Task[Any] | None
    input: Any
    token: CancelToken
    prepared: Prompt | Piecework | None = None
    created: float = field(default_factory=time.monotonic)
    _started: float | None = None
    _loading_since: float | None = None
    _load_s: float = 0.0
    _load_s_before_start: float = 0.0
    _answered: bool = False
    _parts: Parts | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def create(cls, frame: Submit | Load, around: Surroundings) -> Request:
        """Check a frame. Raises AppError when it must not be queued."""
        if frame.entry.family not in FAMILIES:
            raise TaskNotSupported(f"no family serves {frame.entry.name}")
        token = CancelToken(frame.timeout_s)
        if isinstance(frame, Load):
            return cls(frame, around, None, None, token)
        if frame.task not in TASKS:
            raise TaskNotSupported(f"there is no task {frame.task}")
        task = TASKS[frame.task]
        request_input = _validated(task, frame.input)
        task.check(request_input, frame.entry)
        return cls(frame, around, task, request_input, token)

    @property
    def entry(self) -> Entry:
        return self.frame.entry

    @property
    def origin(self) -> Origin:
        return self.frame.origin

    @property
    def started(self) -> bool:
        """Whether it has, or had, the device."""
        return self._started is not None

    @property
    def answered(self) -> bool:
        return self._answered

    @property
    def needs_preparing(self) -> bool:
        """Whether something must be made of it before it may be queued."""
        return isinstance(self.task, EncodedTask | PieceTask) and self.prepared is None

    def prepare(self) -> None:
        """Make the prompt, or the piecework. Raises what the task does."""
        if isinstance(self.task, EncodedTask):
            self.prepared = self.task.encode(self.input, self.entry, self.read)
        elif isinstance(self.task, PieceTask):
            self.prepared = self.task.prepare(self.input, self.entry, self.read)
            if self.answered:
                self.prepared.close()

    def read(self, media: MediaRef) -> bytes:
        """The bytes of a binary input."""
        return media.data if media.data is not None else self.around.spool.read(media.file_id or "")

    def work(self) -> Work:
        """This request as an engine sees it."""
        frame, task = self.frame, self.task
        return Work(
            id=frame.id,
            caller=frame.caller,
            priority=frame.priority if isinstance(frame, Submit) else "interactive",
            token=self.token,
            estimate_bytes=frame.estimate_bytes,
            reserve_bytes=self._reserve_bytes(),
            batch_key=self._batch_key(),
            items=task.items(self.input) if task else 1,
            max_items=task.max_items(self.input, self.entry, self.around.device) if task else 1,
            request=self,
            fail=self.fail,
            origin=self.origin,
        )

    def start(self) -> None:
        """It has the device. Told once, however often it is tried."""
        if self._started is None:
            self._started = time.monotonic()
            self._load_s_before_start = self._load_s
            self.around.emit(Started(self.frame.id))

    def loading(self, fraction: float, size_bytes: int | None) -> None:
        """Told of each load that it waits for: its model may go and come while it is under way."""
        now = time.monotonic()
        self._load_s += now - (self._loading_since or now)
        self._loading_since = None if fraction == 1 else now
        self.around.emit(Loading(self.frame.id, fraction, size_bytes))

    def finish(self, outputs: list[Output], peak_bytes: int | None = None) -> None:
        """Encode, in the CPU pool if it takes long, so that the engine can go on, and answer."""
        started = self._started or self.created
        timing = Timing(
            queue_s=max(0.0, started - self.created - self._load_s_before_start),
            load_s=self._load_s,
            run_s=time.monotonic() - started - (self._load_s - self._load_s_before_start),
        )
        encode = partial(self._encode, outputs, timing, peak_bytes)
        if self._parts is not None:
            self._parts.end(encode)
        elif all(map(_is_quick, outputs)):
            encode()
        else:
            self.around.encoders.submit(encode)

    def part(self, output: Output) -> None:
        """Encode the next part of a result in the CPU pool, and send it."""
        self._in_order().put(output)

    def preview(self, picture: int, output: Output) -> None:
        """Encode what a picture looks like so far in the CPU pool, and send it."""

        def encode() -> None:
            if not self._answered:
                made = ENCODERS[output.kind].encode(output)
                shown = {"preview": made.data, "media_type": made.media_type}
                self._send({"picture": picture, **shown})

        self._in_order().do(encode)

    def _in_order(self) -> Parts:
        if self._parts is None:
            self._parts = Parts(
                self.around.encoders, lambda data: self._send({"data": data}), self._stop, self
            )
        return self._parts

    def _send(self, data: dict[str, Any]) -> None:
        if not self._answered:
            self.around.emit(Delta(self.frame.id, data))

    def _stop(self, error: AppError) -> None:
        """Answer it, and compute no more of it."""
        self.token.cancel(error)
        self.fail(error)

    def loaded(self) -> None:
        """Answer a Load: the bundle is in memory."""
        self._answer(Result(self.frame.id, timing=Timing(load_s=self._load_s)))

    def fail(self, error: AppError) -> None:
        # An engine only knows that it was cancelled; the token knows why.
        if isinstance(error, Cancelled):
            error = self.token.stopped() or error
        self._answer(Failed.from_error(self.frame.id, error))

    def _reserve_bytes(self) -> int:
        if self.task is None or isinstance(self.frame, Load):
            return 0
        if self.frame.reserve_bytes is not None:
            return self.frame.reserve_bytes
        return self.task.reserve_bytes(self.input, self.entry, self.around.device)

    def _batch_key(self) -> tuple[Any, ...] | None:
        if self.task is None:
            return None
        key = self.task.batch_key(self.input, self.entry)
        return None if key is None else (self.task.name, key)

    def _encode(self, outputs: list[Output], timing: Timing, peak_bytes: int | None) -> None:
        with logged_for([self]):
            self._answer_with(outputs, timing, peak_bytes)

    def _answer_with(self, outputs: list[Output], timing: Timing, peak_bytes: int | None) -> None:
        started = time.monotonic()
        artifacts: list[Artifact] = []
        try:
            # What takes long asks on its way whether to go on.
            with interruptible(self.token.check):
                for output in outputs:
                    artifacts.append(self._spooled(ENCODERS[output.kind].encode(output)))
        except AppError as error:
            self._discard(artifacts)
            self.fail(error)
            return
        except Exception:
            log.exception("encode_failed")
            self._discard(artifacts)
            self.fail(InferenceFailed("the result could not be encoded; the server's log says why"))
            return
        timing = Timing(timing.queue_s, timing.load_s, timing.run_s, time.monotonic() - started)
        result = Result(self.frame.id, tuple(artifacts), timing, peak_bytes=peak_bytes)
        if not self._answer(result):
            self._discard(artifacts)

    def _spooled(self, artifact: Artifact) -> Artifact:
        if artifact.data is None or len(artifact.data) <= SPOOL_ABOVE_BYTES:
            return artifact
        return Artifact(
            artifact.media_type, None, self.around.spool.put(artifact.data), artifact.meta
        )

    def _discard(self, artifacts: list[Artifact]) -> None:
        for artifact in artifacts:
            if artifact.spool_id is not None:
                self.around.spool.discard(artifact.spool_id)

    def _answer(self, event: Result | Failed) -> bool:
        """Whether this is the answer; there was another one if not."""
        with self._lock:
            if self._answered:
                return False
            self._answered = True
        self.around.emit(event)
        if isinstance(self.prepared, Piecework):
            self.prepared.close()
        return True


def _is_quick(output: Output) -> bool:
    encoder = ENCODERS.get(output.kind)
    return encoder is not None and encoder.is_quick(output)


def _validated(task: Task[Any], values: dict[str, Any]) -> BaseModel:
    try:
        checked: BaseModel = task.Input.model_validate(values)
    except ValidationError as error:
        raise InvalidInput(
            f"the task's input does not validate: {error.errors()[0]['msg']}"
        ) from error
    return checked


def answer_for(error: BaseException, what: str, *whose: Owned) -> AppError:
    """What the client is told; the log has what was no error of ours."""
    if isinstance(error, AppError):
        return error
    with logged_for(whose):
        log.error("worker_failed", to=what, exc_info=error)
    return InferenceFailed(f"the worker could not {what} this; the server's log says why")
