"""`Worker`: takes frames, answers with frames.

The same class behind a pipe, on a thread, or elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from onebox.core.contracts import Bundle, Device, Entry
from onebox.core.errors import AppError, Cancelled, ModelUnloaded, RequestIdTaken, ShuttingDown
from onebox.core.logs import logged_for
from onebox.core.media import Spool
from onebox.core.plugins import FAMILIES
from onebox.engines.gate import Gate
from onebox.engines.work import Engine
from onebox.hardware.memory import empty_cache, held_bytes, resident_bytes
from onebox.runtime.cache import BundleCache
from onebox.runtime.share import Share
from onebox.runtime.wire import (
    Cancel,
    Event,
    Failed,
    FromWorker,
    GaveUp,
    GiveUp,
    Grant,
    Heartbeat,
    Load,
    Result,
    Retire,
    Start,
    Stats,
    Submit,
    ToWorker,
    Unload,
    WorkerStats,
)
from onebox.runtime.worker.engine import create_engine
from onebox.runtime.worker.memory import BundleMemory
from onebox.runtime.worker.prompts import Prompts
from onebox.runtime.worker.request import Request, Surroundings, answer_for
from onebox.runtime.worker.runner import TaskRunner

log = structlog.get_logger(__name__)

ENCODER_THREADS = 2


class Worker:
    """Runs requests on one device. `handle` may be called from any one thread; `emit` is called
    from many.

    Args:
        budget_bytes: what its memory pool had when it started.
        emit: takes each answering frame; must not block for long.
        free_bytes: what is free on the device now.
    """

    def __init__(
        self,
        start: Start,
        device: Device,
        budget_bytes: int,
        spool: Spool,
        emit: Callable[[FromWorker], None],
        *,
        free_bytes: Callable[[], int],
    ) -> None:
        self.device = device
        self._emit = emit
        self._free_bytes = free_bytes
        self._start = start
        self._gate = Gate()
        self._run = TaskRunner(device)
        self._encoders = ThreadPoolExecutor(ENCODER_THREADS, thread_name_prefix="encoder")
        self._prompts = Prompts()
        self._around = Surroundings(device, self._emit_end, spool, self._encoders)
        self._share = Share(emit, budget_bytes=budget_bytes)
        self._cache = BundleCache(
            self._share,
            self._load,
            self._free_memory,
            held_bytes=lambda: held_bytes(device),
            idle_timeout_s=start.idle_timeout_s,
            lease_timeout_s=start.lease_timeout_s,
            leak_limit_bytes=start.leak_limit_bytes,
        )
        # Reentrant: an engine that was closed fails a request while it is submitted.
        self._lock = threading.RLock()
        self._engines: dict[str, Engine] = {}
        self._requests: dict[str, Request] = {}
        self._draining = threading.Event()
        self._telling = threading.Lock()

    def handle(self, frame: ToWorker) -> None:
        """Take one frame. Returns at once; answers come through `emit`."""
        match frame:
            case Submit() | Load():
                self._accept(frame)
            case Cancel():
                self._cancel(frame.id)
            case Grant():
                self._share.on_grant(frame)
            case Unload() | GiveUp():
                # On a thread of its own: it may wait for a lease or a load to end.
                threading.Thread(target=self._make_room, args=[frame], daemon=True).start()
            case Retire():
                self._cache.retire(frame.keys)
                self._prompts.forget(frame.keys)
            case Stats():
                self.tell(lambda stats: Result(frame.id, stats=stats))
            case _:
                log.error("unexpected_frame", frame=type(frame).__name__)

    def tell(self, frame: Callable[[WorkerStats], FromWorker] = Heartbeat) -> None:
        """Emit how it is. Nothing that is told later is older."""
        with self._telling:
            self._emit(frame(self.stats()))

    def stats(self) -> WorkerStats:
        free = self._free_bytes()
        with self._lock:
            engines, active = list(self._engines.values()), len(self._requests)
        waiting = sum(engine.waiting() for engine in engines)
        return WorkerStats(
            bundles=self._cache.stats(),
            waiting=waiting,
            running=max(0, active - waiting),
            budget_bytes=self._share.share_bytes,
            device_used_bytes=self.device.total_bytes - free,
            device_free_bytes=free,
            resident_bytes=resident_bytes(),
            returned_bytes=self._cache.leaks.returned_bytes,
            leaked_bytes=self._cache.leaks.leaked_bytes,
            wants_restart=self._cache.leaks.wants_restart,
            failure=self._run.failure,
        )

    def tidy(self) -> None:
        """Give back what is idle, look for leaks, end the engines left without a bundle."""
        self._cache.unload_idle()
        self._cache.return_freed()
        with self._lock:
            nothing_runs = not self._requests
        self._cache.check_leaks(nothing_runs)
        loaded = {bundle.key for bundle in self._cache.stats()}
        with self._lock:
            for key, engine in list(self._engines.items()):
                if key not in loaded and not engine.busy():
                    engine.close(ShuttingDown("the model was unloaded"))
                    del self._engines[key]

    def close(self, grace_s: float) -> None:
        """Fail what waits, let what runs finish within the grace time, then fail the rest."""
        self._draining.set()
        reason = ShuttingDown("the server is shutting down; try again", retry_after_s=10)
        with self._lock:
            engines = list(self._engines.values())
        for engine in engines:
            engine.close(reason)
        deadline = threading.Timer(grace_s, self._end_requests, [reason])
        deadline.daemon = True
        deadline.start()
        end = time.monotonic() + grace_s + 1
        for engine in engines:
            engine.join(max(0.0, end - time.monotonic()))
        self._prompts.close()
        self._encoders.shutdown(wait=True)
        deadline.cancel()
        self._end_requests(reason)
        self._cache.close()

    def _end_requests(self, reason: AppError, key: str | None = None) -> None:
        """Answer every request (of one bundle) with `reason`, and stop what runs."""
        with self._lock:
            requests = [r for r in self._requests.values() if key in (None, r.entry.key)]
        for request in requests:
            request.token.cancel(reason)
            # Before its answer, with which it is forgotten: it must not stay in its engine's queue.
            self._cancel(request.frame.id)
            request.fail(reason)

    def _accept(self, frame: Submit | Load) -> None:
        """Check, then queue. Every frame that comes here is answered exactly once."""
        try:
            with logged_for([frame]):
                request = self._register(frame)
        except Exception as error:
            self._emit(Failed.from_error(frame.id, answer_for(error, "check", frame)))
            return
        if request.needs_preparing:
            self._prompts.submit(self._queue, request)
        else:
            self._queue(request)

    def _queue(self, request: Request) -> None:
        """Unless it was answered meanwhile: cancelled, or the worker closes."""
        try:
            with logged_for([request]):
                if request.needs_preparing and not request.answered:
                    self._prompts.make(request)
                work = request.work()
            with self._lock:
                if not request.answered:
                    self._engine_for(request.entry).submit(work)
        except BaseException as error:  # A panic of a library in Rust is no Exception.
            request.fail(answer_for(error, "queue", request))

    def _register(self, frame: Submit | Load) -> Request:
        """Runs the task's own checks, so anything may be raised; nothing is registered then."""
        if self._draining.is_set():
            raise ShuttingDown("the server is shutting down; try again", retry_after_s=10)
        request = Request.create(frame, self._around)
        with self._lock:
            if frame.id in self._requests:
                raise RequestIdTaken(f"a request with the id {frame.id} is running already")
            self._requests[frame.id] = request
        return request

    def _engine_for(self, entry: Entry) -> Engine:
        engine = self._engines.get(entry.key)
        if engine is None:
            memory = BundleMemory(entry, self._cache, self._on_loading, self._recover)
            engine = create_engine(entry, memory, self._run, self._gate, self._start)
            self._engines[entry.key] = engine
        return engine

    def _load(self, entry: Entry) -> Bundle:
        with self._run.disturbed():
            return FAMILIES[entry.family or ""].load(entry, self.device)

    def _free_memory(self) -> None:
        with self._run.disturbed():
            empty_cache(self.device)

    def _on_loading(self, key: str, fraction: float, size_bytes: int | None) -> None:
        """A load got further: tell everybody who waits for it."""
        with self._lock:
            waiting = [r for r in self._requests.values() if r.entry.key == key]
        for request in waiting:
            request.loading(fraction, size_bytes)
        if fraction == 1.0:
            # Who asks what is loaded after this should be told.
            self.tell()

    def _recover(self) -> None:
        empty_cache(self.device)
        self._cache.evict_idle()

    def _cancel(self, request_id: str) -> None:
        with self._lock:
            request = self._requests.get(request_id)
            engine = self._engines.get(request.entry.key) if request else None
        if request is not None:
            request.token.cancel()
        if engine is not None:
            # Before its answer: who has that must not be found waiting.
            engine.cancel(request_id)
        if request is not None and not request.started:
            # Wherever it waits: for a load, or at the gate, that may be long.
            request.fail(Cancelled("the request was cancelled while it waited"))

    def _make_room(self, frame: Unload | GiveUp) -> None:
        if isinstance(frame, GiveUp):
            try:
                self._cache.give_up(frame.size_bytes, frame.evict)
            finally:
                # Whatever happened: until then the gateway grants nothing.
                self._emit(GaveUp(self._share.share_bytes))
            return
        try:
            self._unload(frame)
            self._emit(Result(frame.id))
        except Exception as error:
            self._emit(Failed.from_error(frame.id, answer_for(error, "unload")))
        self.tidy()

    def _unload(self, frame: Unload) -> None:
        def end_requests() -> None:
            reason = ModelUnloaded("the model was unloaded by its operator", should_retry=False)
            self._end_requests(reason, frame.key)

        if frame.force:
            end_requests()
        # Once more for those who came in between: from here on nobody gets a lease.
        self._cache.unload(frame.key, frame.wait_s, end_requests if frame.force else None)

    def _emit_end(self, event: Event) -> None:
        """Pass on a request's event; its last one also ends its bookkeeping."""
        if isinstance(event, Result | Failed):
            with self._lock:
                self._requests.pop(event.id, None)
        self._emit(event)
