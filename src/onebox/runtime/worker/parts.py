"""`Parts`: a long result that is encoded and sent part by part, in order, in the CPU pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor

import structlog

from onebox.core.errors import AppError, InferenceFailed
from onebox.core.logs import Owned, logged_for
from onebox.core.plugins import ENCODERS
from onebox.core.results import Output, StreamEncoder

log = structlog.get_logger(__name__)


class Parts:
    """One job in the pool at a time, whatever comes meanwhile waits for it.

    Args:
        send: takes the bytes, in order; never none.
        fail: told when a part cannot be encoded; nothing is sent after that.
        owner: whose result it is.
    """

    def __init__(
        self,
        pool: Executor,
        send: Callable[[bytes], None],
        fail: Callable[[AppError], None],
        owner: Owned,
    ) -> None:
        self._pool = pool
        self._send = send
        self._fail = fail
        self._owner = owner
        self._lock = threading.Lock()
        self._jobs: deque[Callable[[], None]] = deque()
        self._encoder: StreamEncoder | None = None

    def put(self, output: Output) -> None:
        """The next part. Safe from any one thread."""
        self._add(lambda: self._encode(output))

    def do(self, job: Callable[[], None]) -> None:
        """Something else that is to be sent between the parts."""
        self._add(job)

    def end(self, then: Callable[[], None]) -> None:
        """No more parts: send the end of the file, then call `then` in the pool."""

        def end() -> None:
            if self._encoder is not None:
                self._give(self._encoder.end())
            then()

        self._add(end)

    def _add(self, job: Callable[[], None]) -> None:
        with self._lock:
            self._jobs.append(job)
            if len(self._jobs) > 1:
                return  # The one at work goes on with it.
        self._pool.submit(self._work)

    def _work(self) -> None:
        with logged_for([self._owner]):
            self._do_all()

    def _do_all(self) -> None:
        while True:
            with self._lock:
                job = self._jobs[0]
            try:
                job()
            except BaseException:  # A panic of a library in Rust is no Exception.
                log.exception("encode_failed")
                self._fail(
                    InferenceFailed("the result could not be encoded; the server's log says why")
                )
                return  # With the failed one before them the others stay where they are.
            with self._lock:
                self._jobs.popleft()
                if not self._jobs:
                    return

    def _encode(self, output: Output) -> None:
        if self._encoder is None:
            self._encoder = ENCODERS[output.kind].stream(output.options)
        self._give(self._encoder.feed(output.value))

    def _give(self, data: bytes) -> None:
        if data:
            self._send(data)
