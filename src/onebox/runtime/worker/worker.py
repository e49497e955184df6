"""`Worker`: takes frames, answers with frames.

The same class behind a pipe, on a thread, or elsewhere.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import structlog

from onebox.core.contracts import Bundle, Device, Entry
from onebox.core.errors import AppError, InferenceFailed, QueueFull, ShuttingDown
from onebox.core.media import Spool
from onebox.core.plugins import FAMILIES
from onebox.engines.exclusive import ExclusiveEngine
from onebox.engines.gate import Gate
from onebox.engines.work import Engine, Work
from onebox.hardware.memory import empty_cache, resident_bytes
from onebox.runtime.cache import BundleCache
from onebox.runtime.slot import Want
from onebox.runtime.wire import (
    Accepted,
    Cancel,
    Event,
    Failed,
    Load,
    Result,
    Retire,
    Stats,
    Submit,
    ToWorker,
    Unload,
    WorkerStats,
)
from onebox.runtime.worker.request import Request

log = structlog.get_logger(__name__)

ENGINES: dict[str, Callable[..., Engine]] = {"exclusive": ExclusiveEngine}
RETRY_AFTER_QUEUE_S = 5.0
ENCODER_THREADS = 2


class Worker:
    """Runs requests on one device. `handle` may be called from any one thread; `emit` is called
    from many.

    Args:
        emit: takes each answering frame; must not block for long.
        free_bytes: what is free on the device now.
    """

    def __init__(
        self,
        device: Device,
        budget_bytes: int,
        spool: Spool,
        emit: Callable[[Event], None],
        *,
        free_bytes: Callable[[], int],
        max_queue: int,
        idle_timeout_s: float,
        lease_timeout_s: float,
    ) -> None:
        self.device = device
        self._spool = spool
        self._emit = emit
        self._free_bytes = free_bytes
        self._max_queue = max_queue
        self._gate = Gate()
        self._encoders = ThreadPoolExecutor(ENCODER_THREADS, thread_name_prefix="encoder")
        self._cache = BundleCache(
            budget_bytes,
            self._load,
            lambda: empty_cache(device),
            idle_timeout_s=idle_timeout_s,
            lease_timeout_s=lease_timeout_s,
        )
        # Reentrant: an engine that was closed fails a request while it is submitted.
        self._lock = threading.RLock()
        self._engines: dict[str, Engine] = {}
        self._requests: dict[str, Request] = {}
        self._draining = threading.Event()

    def handle(self, frame: ToWorker) -> None:
        """Take one frame. Returns at once; answers come through `emit`."""
        match frame:
            case Submit() | Load():
                self._accept(frame)
            case Cancel():
                self._cancel(frame.id)
            case Unload():
                # Not in the encoder pool: it may wait for a load to end.
                threading.Thread(target=self._unload, args=[frame], daemon=True).start()
            case Retire():
                self._cache.retire(frame.keys)
            case Stats():
                self._emit(Result(frame.id, stats=self.stats()))
            case _:
                log.error("unexpected_frame", frame=type(frame).__name__)

    def stats(self) -> WorkerStats:
        free = self._free_bytes()
        with self._lock:
            engines, active = list(self._engines.values()), len(self._requests)
        waiting = sum(engine.waiting() for engine in engines)
        return WorkerStats(
            bundles=self._cache.stats(),
            waiting=waiting,
            running=max(0, active - waiting),
            budget_bytes=self._cache.budget_bytes,
            device_used_bytes=self.device.total_bytes - free,
            device_free_bytes=free,
            resident_bytes=resident_bytes(),
        )

    def tidy(self) -> None:
        """Unload what is idle and end the engines left without a bundle. Called now and then."""
        self._cache.unload_idle()
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
        deadline = threading.Timer(grace_s, self._abandon, [reason])
        deadline.daemon = True
        deadline.start()
        end = time.monotonic() + grace_s + 1
        for engine in engines:
            engine.join(max(0.0, end - time.monotonic()))
        self._encoders.shutdown(wait=True)
        deadline.cancel()
        self._abandon(reason)
        self._cache.close()

    def _abandon(self, reason: AppError) -> None:
        with self._lock:
            requests = list(self._requests.values())
        for request in requests:
            request.token.cancel()
            request.fail(reason)

    def _accept(self, frame: Submit | Load) -> None:
        """Check, then queue. Every frame that comes here is answered exactly once."""
        try:
            work = self._register(frame)
        except AppError as error:
            self._emit(Failed.from_error(frame.id, error))
            return
        except Exception:
            log.exception("check_failed", request_id=frame.id)
            bug = InferenceFailed("the request could not be checked; the server's log says why")
            self._emit(Failed.from_error(frame.id, bug))
            return
        self._emit(Accepted(frame.id))
        with self._lock:
            self._engine_for(frame.entry).submit(work)

    def _register(self, frame: Submit | Load) -> Work:
        """Runs the task's own checks, so anything may be raised; nothing is registered then."""
        if self._draining.is_set():
            raise ShuttingDown("the server is shutting down; try again", retry_after_s=10)
        request = Request.create(frame, self.device, self._emit_end, self._spool, self._encoders)
        work = request.work()
        with self._lock:
            self._refuse_if_full()
            if frame.id in self._requests:
                raise QueueFull(f"a request with the id {frame.id} is running already")
            self._requests[frame.id] = request
        return work

    def _refuse_if_full(self) -> None:
        waiting = sum(engine.waiting() for engine in self._engines.values())
        if waiting >= self._max_queue:
            raise QueueFull(
                f"{waiting} requests wait already, the most that may",
                details={"waiting": waiting, "max": self._max_queue},
                retry_after_s=RETRY_AFTER_QUEUE_S,
            )

    def _engine_for(self, entry: Entry) -> Engine:
        engine = self._engines.get(entry.key)
        if engine is None:
            create = ENGINES[FAMILIES[entry.family or ""].engine]
            engine = create(entry.name, lambda work: self._lease(entry, work), self._gate)
            self._engines[entry.key] = engine
        return engine

    def _lease(self, entry: Entry, work: Work) -> AbstractContextManager[Bundle]:
        return self._cache.lease(
            Want(entry, work.estimate_bytes, work.reserve_bytes, work.token.check, work.loading)
        )

    def _load(self, entry: Entry) -> Bundle:
        return FAMILIES[entry.family or ""].load(entry, self.device)

    def _cancel(self, request_id: str) -> None:
        with self._lock:
            request = self._requests.get(request_id)
            engines = list(self._engines.values())
        if request is not None:
            request.token.cancel()
            for engine in engines:
                engine.cancel(request_id)

    def _unload(self, frame: Unload) -> None:
        try:
            self._cache.unload(frame.key)
            self._emit(Result(frame.id))
        except AppError as error:
            self._emit(Failed.from_error(frame.id, error))
        self.tidy()

    def _emit_end(self, event: Event) -> None:
        """Pass on a request's event; its last one also ends its bookkeeping."""
        if isinstance(event, Result | Failed):
            with self._lock:
                self._requests.pop(event.id, None)
        self._emit(event)
