"""`Request`: one accepted Submit or Load inside the worker, from check to its single answer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import structlog
from pydantic import BaseModel, ValidationError

from onebox.core.cancel import CancelToken
from onebox.core.contracts import Bundle, Device, Entry, Task
from onebox.core.errors import (
    AppError,
    InferenceFailed,
    InvalidInput,
    OutOfMemory,
    TaskNotSupported,
)
from onebox.core.media import MediaRef, Spool
from onebox.core.plugins import ENCODERS, FAMILIES, TASKS
from onebox.core.results import Artifact, Output, Timing
from onebox.engines.work import Work
from onebox.hardware.memory import empty_cache
from onebox.runtime.wire import (
    SPOOL_ABOVE_BYTES,
    Delta,
    Event,
    Failed,
    Load,
    Loading,
    Progress,
    Result,
    Submit,
)

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Request:
    """Runs on the engine thread, answers exactly once."""

    frame: Submit | Load
    device: Device
    emit: Callable[[Event], None]
    spool: Spool
    encoders: Executor
    task: Task[Any] | None
    input: BaseModel | None
    token: CancelToken
    created: float = field(default_factory=time.monotonic)
    load_s: float = 0.0
    _load_started: float = 0.0
    _answered: bool = False
    _answer_lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def create(
        cls,
        frame: Submit | Load,
        device: Device,
        emit: Callable[[Event], None],
        spool: Spool,
        encoders: Executor,
    ) -> Request:
        """Check a frame. Raises AppError when it must not be queued."""
        if frame.entry.family not in FAMILIES:
            raise TaskNotSupported(f"no family serves {frame.entry.name}")
        if isinstance(frame, Load):
            return cls(frame, device, emit, spool, encoders, None, None, CancelToken())
        if frame.task not in TASKS:
            raise TaskNotSupported(f"there is no task {frame.task}")
        task = TASKS[frame.task]
        try:
            request_input = task.Input.model_validate(frame.input)
        except ValidationError as error:
            raise InvalidInput(
                f"the task's input does not validate: {error.errors()[0]['msg']}"
            ) from error
        task.check(request_input, frame.entry)
        return cls(
            frame, device, emit, spool, encoders, task, request_input, CancelToken(frame.timeout_s)
        )

    @property
    def entry(self) -> Entry:
        return self.frame.entry

    def work(self) -> Work:
        """This request as an engine sees it."""
        submit = self.frame if isinstance(self.frame, Submit) else None
        reserve = self.task.reserve_bytes(self.input, self.entry, self.device) if self.task else 0
        return Work(
            id=self.frame.id,
            caller=submit.caller if submit else "",
            priority=submit.priority if submit else "interactive",
            token=self.token,
            estimate_bytes=self.frame.estimate_bytes,
            reserve_bytes=reserve,
            run=self._run if submit else self._loaded,
            fail=self.fail,
            loading=self._loading,
        )

    def fail(self, error: AppError) -> None:
        self._answer(Failed.from_error(self.frame.id, error))

    def _loaded(self, bundle: Bundle, between_steps: Callable[[], None]) -> None:
        self._answer(Result(self.frame.id, timing=Timing(load_s=self.load_s)))

    def _run(self, bundle: Bundle, between_steps: Callable[[], None]) -> None:
        """On the engine thread.

        Encoding goes to the CPU pool, so that the next request can start.
        """
        assert self.task is not None
        started = time.monotonic()
        context = _Context(self, between_steps)
        try:
            outputs = self.task.run(bundle, self.input, context)
        except Exception as error:
            self._explain_out_of_memory(error)
            raise
        timing = Timing(
            queue_s=started - self.created - self.load_s,
            load_s=self.load_s,
            run_s=time.monotonic() - started,
        )
        self.encoders.submit(self._encode, outputs, timing)

    def _encode(self, outputs: list[Output], timing: Timing) -> None:
        started = time.monotonic()
        try:
            artifacts = tuple(
                self._spooled(ENCODERS[output.kind].encode(output)) for output in outputs
            )
        except Exception:
            log.exception("encode_failed", request_id=self.frame.id)
            self.fail(InferenceFailed("the result could not be encoded; the server's log says why"))
            return
        encode_s = time.monotonic() - started
        self._answer(
            Result(
                self.frame.id,
                artifacts,
                Timing(timing.queue_s, timing.load_s, timing.run_s, encode_s),
            )
        )

    def _spooled(self, artifact: Artifact) -> Artifact:
        if artifact.data is None or len(artifact.data) <= SPOOL_ABOVE_BYTES:
            return artifact
        return Artifact(artifact.media_type, None, self.spool.put(artifact.data), artifact.meta)

    def _loading(self, fraction: float) -> None:
        now = time.monotonic()
        if fraction == 0.0:
            self._load_started = now
        self.load_s = now - self._load_started
        self.emit(Loading(self.frame.id, fraction))

    def _explain_out_of_memory(self, error: Exception) -> None:
        """Turn torch's out-of-memory error into ours, with the memory given back first."""
        if type(error).__name__ != "OutOfMemoryError" and not isinstance(error, MemoryError):
            return
        error.__traceback__ = None
        empty_cache(self.device)
        log.error("out_of_memory", request_id=self.frame.id, model=self.entry.name)
        raise OutOfMemory(
            f"{self.entry.name} ran out of memory on this request; ask for less or try again later",
            retry_after_s=5,
        ) from None

    def _answer(self, event: Result | Failed) -> None:
        with self._answer_lock:
            if self._answered:
                return
            self._answered = True
        self.emit(event)


@dataclass(slots=True)
class _Context:
    """The running task's way to the outside (`RunContext`)."""

    request: Request
    between_steps: Callable[[], None]

    @property
    def device(self) -> Device:
        return self.request.device

    @property
    def entry(self) -> Entry:
        return self.request.entry

    def check(self) -> None:
        self.request.token.check()

    def step(self, step: int, steps: int) -> None:
        self.check()
        self.request.emit(Progress(self.request.frame.id, step, steps))
        self.between_steps()
        self.check()

    def delta(self, data: dict[str, Any]) -> None:
        self.request.emit(Delta(self.request.frame.id, data))

    def read(self, media: MediaRef) -> bytes:
        return (
            media.data if media.data is not None else self.request.spool.read(media.file_id or "")
        )
