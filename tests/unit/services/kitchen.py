"""An `Inference` between fakes, and what is looked at when a request has ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, RunContext, Task, TaskDefaults
from onebox.core.media import MediaRef
from onebox.core.results import Output
from onebox.core.stages import Stage
from onebox.runtime.wire import Submit
from onebox.services.admission import Admission
from onebox.services.companions import Companions
from onebox.services.dispatch import Dispatch
from onebox.services.inference import Inference
from onebox.services.metrics import Metrics
from onebox.services.request import Options, Outcome, Prepared
from onebox.services.running import RunningRequests
from onebox.services.sizing import Weights, Working
from tests.unit.runtime.clients import NotingClient, entry

MODEL = entry("a", tasks=("fake",))


class FakeInput(BaseModel):
    text: str = "hello"
    steps: int | None = None
    media: MediaRef | None = None
    mask: MediaRef | None = None


class FakeTask(Task[FakeInput]):
    name = "fake"
    summary = "Fake"
    Input = FakeInput

    def resolve(self, request: FakeInput, entry: Entry, defaults: TaskDefaults) -> FakeInput:
        return request.model_copy(update={"steps": request.steps or defaults.steps})

    def run(self, bundle: Any, request: FakeInput, context: RunContext) -> list[Output]:
        raise NotImplementedError


class FakeCatalogue:
    def __init__(self) -> None:
        self.entry = MODEL

    async def find(
        self,
        task_name: str,
        model: str | None,
        *,
        timeout_s: float | None = None,
        allowed: Any = None,
    ) -> Entry:
        return self.entry

    async def for_stage(self, stage: Stage, *, timeout_s: float | None = None) -> Entry:
        return self.entry


class FakeSizing:
    """`on_weights` is called whenever weights are sized."""

    def __init__(self) -> None:
        self.remembered: list[tuple[str, int]] = []
        self.on_weights: Callable[[], None] = lambda: None

    async def weights(self, entry: Entry, device: Device) -> Weights:
        self.on_weights()
        return Weights(500, 480)

    def working(self, entry: Entry, task: Any, request: Any, device: Device) -> Working:
        return Working(100, None)

    def remember_weights(self, entry: Entry, device: Device, size_bytes: int) -> None:
        self.remembered.append(("weights", size_bytes))

    def remember_working(
        self, entry: Entry, task: Any, request: Any, device: Device, peak_bytes: int
    ) -> None:
        self.remembered.append(("working", peak_bytes))


class FakePool:
    """`on_place` is awaited before the one worker is given out."""

    def __init__(self, client: NotingClient) -> None:
        self.client = client
        self.needed: list[int] = []
        self.timeouts: list[float] = []
        self.on_place: Callable[[], Awaitable[None]] | None = None
        self.is_up = True

    def ready(self) -> list[NotingClient]:
        return [self.client] if self.is_up else []

    async def place(self, key: str, needed_bytes: Any, timeout_s: float) -> NotingClient:
        self.timeouts.append(timeout_s)
        if self.on_place is not None:
            await self.on_place()
        assert self.client.hello is not None
        self.needed.append(await needed_bytes(self.client.hello.device))
        return self.client


class Kitchen:
    def __init__(self, folder: Path, tracing: Any = None, **limits: Any) -> None:
        self.folder = folder
        self.client = NotingClient(folder)
        self.pool = FakePool(self.client)
        self.catalogue = FakeCatalogue()
        self.sizing = FakeSizing()
        self.metrics = Metrics(lambda: [])
        self.running = RunningRequests()
        self.admission = Admission(
            **{
                "max_waiting": 10,
                "max_waiting_per_model": 10,
                "max_per_caller": None,
                "jitter": lambda: 0.0,
                **limits,
            }
        )
        self.inference = Inference(
            self.catalogue,
            Companions(self.catalogue),
            Dispatch(self.pool, self.client.spool, self.admission, self.sizing, tracing),
            self.metrics,
            self.running,
            TaskDefaults(20, 7.5),
            timeout_s=100,
            log_prompts=False,
        )

    def prepared(self, name: str = "1", *, left_s: float = 60, **given: Any) -> Prepared:
        return Prepared(
            id=f"wire-{name}",
            task=FakeTask(),
            entry=MODEL,
            input=FakeInput(**given),
            caller="key:1",
            options=Options(name, "job"),
            deadline=time.monotonic() + left_s,
        )

    def submits(self) -> list[Submit]:
        return [frame for frame in self.client.sent if isinstance(frame, Submit)]

    def files(self) -> list[str]:
        return [path.name for path in self.folder.iterdir()]

    def ends(self) -> dict[str, float]:
        """How often requests ended in which way."""
        page = self.metrics.render().decode()
        return {
            sample.labels["status"]: sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == "onebox_predictions_total"
        }

    def nothing_is_left(self) -> bool:
        """No place, no ticket, no exchange and no file of any request."""
        return not (
            len(self.running)
            or self.admission.waiting()
            or self.admission._callers
            or self.client.pending
            or self.files()
        )


async def until(condition) -> None:
    while not condition():
        await asyncio.sleep(0)


async def sent(kitchen: Kitchen, *prepared) -> list[asyncio.Task[Outcome]]:
    """These requests, once they are at the worker."""
    tasks = [asyncio.ensure_future(kitchen.inference.run(one)) for one in prepared]
    await until(lambda: len(kitchen.submits()) == len(prepared) or any(t.done() for t in tasks))
    return tasks


async def ended_with(kitchen: Kitchen, *events) -> Outcome:
    """What comes of a request to which the worker says this."""
    (task,) = await sent(kitchen, kitchen.prepared())
    kitchen.client.answer(*events)
    return await task
