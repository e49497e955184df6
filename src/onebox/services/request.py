"""A request to a task as the gateway holds it: what was asked, what is queued, what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import Entry, Priority, Task
from onebox.core.errors import DeadlineExceeded, InvalidInput, ModelBroken, TaskNotSupported
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact, Timing
from onebox.services.running import RunningRequest


@dataclass(frozen=True, slots=True)
class Options:
    """What a client may say about any request.

    Attributes:
        client_id: its name for the request, unique among those of it that run.
        timeout_s: until it is given up, waiting included; at most the server's limit.
    """

    client_id: str
    priority: Priority = "interactive"
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A request that may be queued: its model is known and its input leaves nothing open.

    Attributes:
        deadline: in seconds of the monotonic clock.
        companions: by slot.
        follow: given when it is part of a job, which waited its turn already: no bound of a queue
            refuses it now. Gets the request when it begins.
    """

    id: str
    task: Task[Any]
    entry: Entry
    input: BaseModel
    caller: str
    options: Options
    deadline: float
    companions: Mapping[str, Entry] = field(default_factory=dict)
    follow: Callable[[RunningRequest], None] | None = None

    def left_s(self) -> float:
        """Seconds until its deadline. Raises DeadlineExceeded when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the request did not finish within its time limit")
        return left


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request; every artifact has its bytes."""

    prepared: Prepared
    artifacts: tuple[Artifact, ...]
    timing: Timing


def refuse_client_files(request: BaseModel) -> None:
    """A client names its files by upload only; a spool id in a request is not its own.

    Raises InvalidInput.
    """
    for name, value in request:
        items = value if isinstance(value, list) else [value]
        if any(isinstance(item, MediaRef) and item.file_id is not None for item in items):
            raise InvalidInput(f"{name}: there is no stored file of that id", param=name)


def require_whole(entry: Entry) -> None:
    """Raises ModelBroken with the reason."""
    if entry.status == "broken":
        raise ModelBroken(f"{entry.name} cannot be used: {entry.reason}", param="model")


def require_task(entry: Entry, task_name: str) -> None:
    """Raises ModelBroken, or TaskNotSupported with what it can do."""
    require_whole(entry)
    if task_name not in entry.tasks:
        unknown = "nothing that this server knows"
        alone = f"nothing by itself, it is a {entry.kind}" if entry.kind else unknown
        can = ", ".join(entry.tasks) or alone
        raise TaskNotSupported(
            f"{entry.name} cannot do {task_name}; it can do: {can}{_needed(task_name)}",
            param="model",
            details={"task": task_name, "tasks": list(entry.tasks)},
        )


def _needed(task_name: str) -> str:
    """Which models can do it, where the task tells."""
    needs = TASKS[task_name].needs if task_name in TASKS else ""
    return f"; {task_name} needs {needs}" if needs else ""
