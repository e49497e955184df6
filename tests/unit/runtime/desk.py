"""Requests inside a worker, without the worker: their task, their way out, and their encoders."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any

from pydantic import BaseModel

import onebox.encoders.plain  # noqa: F401 - registers its encoders
from onebox.core.cancel import CancelToken
from onebox.core.contracts import Device, Entry, RunContext, Task
from onebox.core.errors import InvalidInput
from onebox.core.media import Spool
from onebox.core.results import Output
from onebox.runtime.wire import Event, Failed, Load, Result, Submit
from onebox.runtime.worker.request import Request, Surroundings
from tests.unit.runtime.clients import CPU, entry


class TextInput(BaseModel):
    text: str = "hello"
    size: int = 1
    group: str | None = "together"
    deterministic: bool = False


class TextTask(Task[TextInput]):
    """Gives its text back. `on_run` sees each run's context first, and may take steps or raise."""

    name = "text"
    summary = "Give the text back"
    Input = TextInput

    def __init__(self) -> None:
        self.on_run: Callable[[RunContext], None] = lambda context: None
        self.runs: list[list[str]] = []

    def check(self, request: TextInput, entry: Entry) -> None:
        if request.text == "refuse":
            raise InvalidInput("text: not this one", param="text")

    def reserve_bytes(self, request: TextInput, entry: Entry, device: Device) -> int:
        return request.size * 100

    def size_class(self, request: TextInput) -> str:
        return str(request.size) if request.size else ""

    def batch_key(self, request: TextInput, entry: Entry) -> Hashable | None:
        return request.group

    def is_deterministic(self, request: TextInput) -> bool:
        return request.deterministic

    def items(self, request: TextInput) -> int:
        return 2

    def max_items(self, request: TextInput, entry: Entry, device: Device) -> int:
        return 8

    def run(self, bundle: Any, request: TextInput, context: RunContext) -> list[Output]:
        return self.run_batch(bundle, [request], context)[0]

    def run_batch(
        self, bundle: Any, requests: Sequence[TextInput], context: RunContext
    ) -> list[list[Output]]:
        self.runs.append([request.text for request in requests])
        self.on_run(context)
        return [[Output("json", request.text)] for request in requests]


class LazyExecutor(Executor):
    """Keeps what it is to do until the test says `work`."""

    def __init__(self) -> None:
        self._jobs: list[Callable[[], None]] = []

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._jobs.append(lambda: call(*args, **kwargs))
        return Future()

    def work(self) -> None:
        while self._jobs:
            self._jobs.pop(0)()


class Desk:
    """Makes requests and collects what they emit."""

    def __init__(self, folder: Path) -> None:
        self.task = TextTask()
        self.spool = Spool(folder)
        self.events: list[Event] = []
        self.encoders = LazyExecutor()
        self.around = Surroundings(CPU, self.events.append, self.spool, self.encoders)

    def request(self, name: str, key: str = "a", **fields: Any) -> Request:
        """One that was accepted."""
        given = self.task.Input(text=name, **fields)
        return Request(submit(name, key), self.around, self.task, given, CancelToken())

    def load(self, name: str) -> Request:
        return Request(load(name), self.around, None, None, CancelToken())

    def answers(self) -> dict[str, Result | Failed]:
        """The answer of each request, once it is encoded; nobody may have two."""
        self.encoders.work()
        ends = [event for event in self.events if isinstance(event, Result | Failed)]
        assert len({end.id for end in ends}) == len(ends), "a request was answered twice"
        return {end.id: end for end in ends}

    def told(self, name: str) -> list[Event]:
        return [event for event in self.events if event.id == name]


def submit(name: str, key: str = "a", *, reserve_bytes: int | None = None, **given: Any) -> Submit:
    return Submit(name, "text", entry(key), given, "key:1", "job", 9.0, 40, reserve_bytes)


def load(name: str) -> Load:
    return Load(name, entry(), "key:1", 9.0, 40)
