"""A request's way from a task's input to its artifacts (steps 4 to 7 of the path)."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace

import structlog
from pydantic import BaseModel

from onebox.core.contracts import Entry, TaskDefaults
from onebox.core.decoding import DecodeTask
from onebox.core.errors import AppError, DeadlineExceeded, ModelBroken, OutOfMemory
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact
from onebox.core.stages import Stage
from onebox.runtime.wire import Delta, Event, Failed, Result
from onebox.services import deferral
from onebox.services.access.caller import Caller
from onebox.services.access.gatekeeper import Gatekeeper
from onebox.services.catalogue import Catalogue, nameless
from onebox.services.companions import Companions
from onebox.services.deferral import Replay
from onebox.services.dispatch import Dispatch
from onebox.services.fallbacks import Fallbacks, run_or_fall_back, stream_or_fall_back
from onebox.services.metrics import Metrics
from onebox.services.named_models import require_allowed
from onebox.services.request import Options, Outcome, Prepared, require_task, texts_of
from onebox.services.running import RunningRequest, RunningRequests
from onebox.services.usage.ledger import Ledger
from onebox.services.usage.token_counts import token_counts

log = structlog.get_logger(__name__)


class Inference:
    """Resolves models, queues requests at a worker and collects their results.

    Args:
        gatekeeper: says who may; None lets everybody.
        ledger: keeps what requests took.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        companions: Companions,
        dispatch: Dispatch,
        metrics: Metrics,
        running: RunningRequests,
        defaults: TaskDefaults,
        *,
        timeout_s: float,
        log_prompts: bool,
        gatekeeper: Gatekeeper | None = None,
        ledger: Ledger | None = None,
        fallbacks: Fallbacks | None = None,
    ) -> None:
        self._catalogue = catalogue
        self._companions = companions
        self._dispatch = dispatch
        self._metrics = metrics.inference
        self._running = running
        self._defaults = defaults
        self._timeout_s = timeout_s
        self._log_prompts = log_prompts
        self._gatekeeper = gatekeeper
        self._ledger = ledger
        self._fallbacks = fallbacks

    async def prepare(
        self,
        task_name: str,
        request: BaseModel,
        *,
        model: str | None,
        caller: Caller,
        options: Options,
    ) -> Prepared:
        """Find the model and fill in the input.

        Raises ModelNotFound, ModelBroken, TaskNotSupported, InvalidInput; what Gatekeeper does.
        """
        later = deferral.current()
        if isinstance(later, Replay) and later.knows(task_name):
            prepared = await later.again(task_name, request)
            structlog.contextvars.bind_contextvars(task=task_name, model=prepared.entry.name)
            return prepared
        timeout_s = min(options.timeout_s or self._timeout_s, self._timeout_s)
        deadline = time.monotonic() + timeout_s
        allowed = caller.allowance.models
        entry = await self._catalogue.find(task_name, model, timeout_s=timeout_s, allowed=allowed)
        # For the line that the access log writes when the request has ended.
        structlog.contextvars.bind_contextvars(task=task_name, model=entry.name)

        async def new(entry: Entry) -> Prepared:
            made = await self._prepared(task_name, request, entry, caller.id, options, deadline)
            made.max_concurrent = caller.allowance.max_concurrent
            if isinstance(later, Replay):
                return made
            await require_allowed(self._catalogue, made, allowed)
            if self._gatekeeper is not None:
                made.hold = await self._gatekeeper.admit(made.task, entry, caller, made.input)
            return made

        with nameless(allowed):
            prepared = await new(entry)
        if isinstance(later, Replay):
            return await later.joined(prepared)
        if later is not None:
            later.note(request, prepared)
        elif self._fallbacks is not None:
            prepared.another = self._fallbacks.plan(task_name, entry, new, allowed)
        return prepared

    async def _prepared(
        self,
        task_name: str,
        request: BaseModel,
        entry: Entry,
        caller: str,
        options: Options,
        deadline: float,
    ) -> Prepared:
        task = TASKS[task_name]
        require_task(entry, task_name)
        is_here = entry.upstream is None
        resolved = task.resolve(request, entry, self._defaults) if is_here else request
        return Prepared(
            id=secrets.token_hex(8),
            task=task,
            entry=entry,
            input=resolved,
            caller=caller,
            options=options,
            deadline=deadline,
            companions=await self._companions.of(task, resolved, entry) if is_here else {},
        )

    async def run(self, prepared: Prepared) -> Outcome:
        """Raises the AppError that the request ended in."""
        return await run_or_fall_back(prepared, self._run)

    def stream(self, prepared: Prepared) -> AsyncGenerator[Event | Outcome, None]:
        """Events as they come, then the Outcome. Leaving early cancels. Raises as `run` does."""
        if prepared.another is None:
            return self._stream(prepared)
        return stream_or_fall_back(prepared, self._stream)

    async def _run(self, prepared: Prepared) -> Outcome:
        async with self._entered(prepared) as running:
            ready = await self._begun(prepared, running)
            outcome = await self._only_end(ready, running)
            return await self._ended(outcome, running)

    async def _stream(self, prepared: Prepared) -> AsyncGenerator[Event | Outcome, None]:
        async with self._entered(prepared) as running:
            ready = await self._begun(prepared, running)
            outcome: Outcome | None = None
            async with self._dispatch.exchange(ready, running, only_end=False) as exchange:
                writes = isinstance(ready.task, DecodeTask)
                started = time.monotonic() if writes else None
                async for event in exchange:
                    if isinstance(event, Result | Failed):
                        outcome = await self._collect(ready, event, running)
                        continue
                    if isinstance(event, Delta) and started is not None:
                        self._metrics.first_token(ready.entry.name, time.monotonic() - started)
                        started = None
                    yield event
            assert outcome is not None
            outcome = await self._ended(outcome, running)
        # It has ended, however long its client takes to read this.
        yield outcome

    @contextlib.asynccontextmanager
    async def _entered(self, prepared: Prepared) -> AsyncIterator[RunningRequest]:
        """The request among the running ones, counted when it ends."""
        deferral.stop_here()
        running = self._running.enter(
            prepared.id,
            prepared.options.client_id,
            prepared.caller,
            task=prepared.task.name,
            model=prepared.entry.name,
            key=prepared.entry.key,
            priority=prepared.options.priority,
        )
        status = "cancelled"
        try:
            if prepared.follow is not None:
                running.admitted = True
                prepared.follow(running)
            yield running
            status = "ok"
        except AppError as error:
            status = error.code
            deferral.failed(error)
            if isinstance(error, DeadlineExceeded):
                # Its last part knows only what was left for that.
                limit_s = max(round(prepared.deadline - running.entered, 3), 0.001)
                message = f"the request did not finish within {limit_s:g} s"
                raise DeadlineExceeded(message, details={"timeout_s": limit_s}) from error
            if isinstance(error, OutOfMemory) and error.retry_after_s is None:
                error.retry_after_s = self._dispatch.retry_after_s(prepared, running)
            raise
        except Exception:
            status = AppError.code
            raise
        finally:
            if running.ticket is not None:
                running.ticket.close(ok=status == "ok")
            self._running.leave(running)
            self._metrics.prediction(prepared.task.name, prepared.entry.name, status)
            if self._ledger is not None:
                self._ledger.ended(prepared, running, status)

    async def _begun(self, prepared: Prepared, running: RunningRequest) -> Prepared:
        """The request with what another task had to do first."""
        stage = prepared.before()
        if stage is None:
            return prepared
        before = await self._stage(stage, prepared, running)
        joined = prepared.task.joined(prepared.input, before.artifacts)
        return replace(prepared, input=joined)

    async def _ended(self, outcome: Outcome, running: RunningRequest) -> Outcome:
        """The outcome with what another task made of its artifacts."""
        prepared, artifacts = outcome.prepared, list[Artifact]()
        for artifact in outcome.artifacts:
            stage = prepared.after(artifact)
            if stage is not None:
                after = await self._stage(stage, prepared, running)
                (made,) = after.artifacts
                artifact = Artifact(made.media_type, made.data, None, artifact.meta | made.meta)
            artifacts.append(artifact)
        running.meter.made(artifacts, counted_s=prepared.options.counted_s)
        return replace(outcome, artifacts=tuple(artifacts))

    async def _stage(self, stage: Stage, whole: Prepared, running: RunningRequest) -> Outcome:
        """A request to another task, as part of the whole."""
        try:
            return await self._outcome_of(stage, whole, running)
        except AppError as error:
            error.param = stage.params.get(error.param or "", error.param)
            raise

    async def _outcome_of(self, stage: Stage, whole: Prepared, running: RunningRequest) -> Outcome:
        if stage.companion is not None:
            entry = whole.companions[stage.companion]
        else:
            entry = await self._catalogue.for_stage(stage, timeout_s=whole.left_s())
        prepared = await self._prepared(
            stage.task, stage.input, entry, whole.caller, whole.options, whole.deadline
        )
        status = "cancelled"
        try:
            outcome = await self._only_end(prepared, running)
            status = "ok"
        except AppError as error:
            status = error.code
            raise
        finally:
            self._metrics.prediction(prepared.task.name, prepared.entry.name, status)
        return outcome

    async def _only_end(self, prepared: Prepared, running: RunningRequest) -> Outcome:
        async with self._dispatch.exchange(prepared, running, only_end=True) as exchange:
            return await self._collect(prepared, await anext(exchange), running)

    async def _collect(self, prepared: Prepared, end: Event, running: RunningRequest) -> Outcome:
        """What a request's last event brought. Raises the error that it tells of."""
        if isinstance(end, Failed):
            error = end.to_error()
            if isinstance(error, ModelBroken):
                self._catalogue.mark_broken(prepared.entry, error.message)
            raise error
        assert isinstance(end, Result)
        artifacts = await self._dispatch.with_bytes(end.artifacts)
        timing = end.timing
        structlog.contextvars.bind_contextvars(
            queue_s=round(timing.queue_s, 3), run_s=round(timing.run_s, 3)
        )
        self._metrics.timing(prepared.task.name, prepared.entry.name, end.timing)
        if isinstance(prepared.task, DecodeTask):
            tokens = token_counts(artifacts)
            self._metrics.tokens(prepared.entry.name, tokens)
            running.meter.wrote(tokens)
        for artifact in artifacts:
            sure = artifact.meta.get("confidence")
            if sure is not None:
                is_own = prepared.task.confidence_is_own
                name = prepared.entry.name
                self._metrics.confidence(prepared.task.name, name, sure, is_own=is_own)
        if self._log_prompts:
            log.info("finished", task=prepared.task.name, **texts_of(prepared.input))
        return Outcome(prepared, artifacts, end.timing)
