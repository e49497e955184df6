"""`UpstreamClient`: the gateway's handle on another server, in the form of one on a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import structlog

from onebox.core.errors import (
    AppError,
    Cancelled,
    DeadlineExceeded,
    InferenceFailed,
    ShuttingDown,
)
from onebox.core.media import Spool
from onebox.core.plugins import TASKS
from onebox.core.results import Timing
from onebox.runtime.exchange import Exchange, Request
from onebox.runtime.memory_pool import MemoryPools
from onebox.runtime.wire import Cancel, Delta, Event, Failed, Result, Started, Submit, ToWorker
from onebox.runtime.worker_client import WorkerClient
from onebox.services.upstreams.adapter import Adapter, Ask
from onebox.services.upstreams.chain import require_way_on
from onebox.services.upstreams.connection import Connection
from onebox.services.upstreams.turns import Turns

log = structlog.get_logger(__name__)

CLOSE_S = 2.0


class UpstreamClient(WorkerClient):
    """Asks the server for each request as it comes, and at most so many at a time.

    It has no device and no memory that anybody counts; nothing is loaded or unloaded there.

    Args:
        ended: told how each request ended: "ok", or the code of an error.
    """

    def __init__(
        self,
        index: int,
        spool: Spool,
        pools: MemoryPools,
        connection: Connection,
        adapter: Adapter,
        *,
        max_concurrent: int,
        ended: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(index, spool, pools)
        self._connection = connection
        self._adapter = adapter
        self._turns = Turns(max_concurrent)
        self._ended = ended
        self._clock = clock
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._whole: set[str] = set()
        self._leaving: AppError = Cancelled("the request was cancelled")
        self._set_state("ready", "")

    async def start(self) -> None:
        """It connects when it is first asked."""

    async def close(self, grace_s: float) -> None:
        self._set_state("stopped", "the server is shutting down")
        tasks = set(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace_s)
            self._leaving = ShuttingDown("the server is shutting down; try again", retry_after_s=10)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CLOSE_S)
        await self._connection.close()

    def submit(
        self,
        request: Request,
        observe: Callable[[Event], None] | None = None,
        *,
        only_end: bool = False,
    ) -> Exchange:
        if only_end:
            self._whole.add(request.id)
        return super().submit(request, observe, only_end=only_end)

    def _send(self, frame: ToWorker) -> None:
        match frame:
            case Submit():
                if self.state != "ready":
                    raise ShuttingDown(self.reason, retry_after_s=10)
                task = asyncio.create_task(self._run(frame), name=f"upstream-{frame.id}")
                self._tasks[frame.id] = task
                task.add_done_callback(partial(self._done, frame.id))
            case Cancel():
                asked = self._tasks.get(frame.id)
                if asked is not None:
                    # Its connection is closed with it, which tells the other server.
                    asked.cancel()
            case _:
                raise TypeError(f"{type(frame).__name__} is for workers alone")

    async def _run(self, submit: Submit) -> None:
        self._end(await self._end_of(submit, submit.id in self._whole))

    def _done(self, request_id: str, task: asyncio.Task[None]) -> None:
        del self._tasks[request_id]
        if task.cancelled():
            # Before it had begun: it could say nothing itself.
            self._end(Failed.from_error(request_id, self._leaving))

    def _end(self, end: Result | Failed) -> None:
        self._whole.discard(end.id)
        self._ended(end.code if isinstance(end, Failed) else "ok")
        self._on_event(end)

    async def _end_of(self, submit: Submit, whole: bool) -> Result | Failed:
        error: AppError
        try:
            async with asyncio.timeout(submit.timeout_s):
                return await self._answered(submit, whole)
        except TimeoutError:
            error = DeadlineExceeded("the request did not finish within its time limit")
        except asyncio.CancelledError:
            error = self._leaving
        except AppError as failure:
            error = failure
        except Exception as bug:
            # Not with its text or its traceback, which may hold addresses and what was sent.
            where = bug.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            log.error(
                "upstream_bug",
                upstream=self._connection.name,
                error=type(bug).__name__,
                file=where.tb_frame.f_code.co_filename if where else None,
                line=where.tb_lineno if where else None,
            )
            error = InferenceFailed("the answer of another server could not be used")
        return Failed.from_error(submit.id, error)

    async def _answered(self, submit: Submit, whole: bool) -> Result:
        # Before it waits, perhaps for itself.
        require_way_on(self._connection.name)
        came = self._clock()
        async with self._turns.turn(submit.caller, submit.priority):
            began = self._clock()
            self._on_event(Started(submit.id))
            artifacts = await self._adapter.run(self._ask(submit, whole), self._connection)
        timing = Timing(queue_s=began - came, run_s=self._clock() - began)
        return Result(submit.id, artifacts, timing)

    def _ask(self, submit: Submit, whole: bool) -> Ask:
        def tell(data: dict[str, Any]) -> None:
            self._on_event(Delta(submit.id, data))

        return Ask(
            task=submit.task,
            name=submit.entry.name,
            model=submit.entry.facts["model"],
            input=submit.input,
            given=given_of(submit.task, submit.input),
            whole=whole,
            tell=tell,
            parameters=submit.entry.facts["parameters"],
        )


def given_of(task: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Of the fields of a task's input those that are no defaults."""
    fields = TASKS[task].Input.model_fields
    given = {}
    for name, value in values.items():
        default = fields[name].get_default(call_default_factory=True, validated_data={})
        plain = default.model_dump() if hasattr(default, "model_dump") else default
        if value != plain:
            given[name] = value
    return given
