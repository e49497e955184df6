"""A request to a task as the gateway holds it: what was asked, what is queued, what came of it."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from pydantic import BaseModel

from onebox.core.contracts import Entry, Priority, Task
from onebox.core.errors import (
    AppError,
    DeadlineExceeded,
    InvalidInput,
    ModelBroken,
    TaskNotSupported,
)
from onebox.core.media import MediaRef
from onebox.core.plugins import TASKS
from onebox.core.results import Artifact, Timing
from onebox.core.stages import Stage
from onebox.services.running import RunningRequest
from onebox.services.usage.holds import Hold


@dataclass(frozen=True, slots=True)
class Options:
    """What a client may say about any request.

    Attributes:
        client_id: its name for the request, unique among those of it that run.
        timeout_s: until it is given up, waiting included; at most the server's limit.
        counted_s: so much of its sound was usage of an earlier request already: the server's own,
            for sound that it listens to again.
    """

    client_id: str
    priority: Priority = "interactive"
    timeout_s: float | None = None
    counted_s: float = 0.0


@dataclass(slots=True)
class Prepared:
    """A request that may be queued: its model is known and its input leaves nothing open.

    Of a model of another server the input is as the client gave it: what it leaves open is filled
    in there, and what comes before and after is done there. It changes only when another model
    takes over.

    Attributes:
        deadline: in seconds of the monotonic clock.
        companions: by slot.
        follow: given when it is part of a job, which waited its turn already: no bound of a queue
            refuses it now. Gets the request when it begins.
        job_id: of that job.
        max_concurrent: of its caller's requests; None: as the server's settings say.
        hold: what is set aside for it of what is left for its caller, if that is bounded.
        credits: what it was charged when it had ended.
        another: the same request for another model, after an error that it may have one for.
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
    job_id: str | None = None
    hold: Hold | None = None
    max_concurrent: int | None = None
    credits: float = 0.0
    another: Another | None = None

    def become(self, other: Prepared) -> None:
        """Another model takes over; the request stays what it is for its client."""
        for each in fields(self):
            if each.name != "id":
                setattr(self, each.name, getattr(other, each.name))

    def before(self) -> Stage | None:
        """What another task must do first."""
        if self.entry.upstream is not None:
            return None
        return self.task.before(self.input, self.entry)

    def after(self, artifact: Artifact) -> Stage | None:
        """What another task makes of an artifact."""
        return None if self.entry.upstream is not None else self.task.after(self.input, artifact)

    def check(self) -> None:
        """Raises InvalidInput for what the model cannot do, as far as that is known here."""
        if self.entry.upstream is None:
            self.task.check(self.input, self.entry)

    def left_s(self) -> float:
        """Seconds until its deadline. Raises DeadlineExceeded when there are none."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded("the request did not finish within its time limit")
        return left


Another: TypeAlias = Callable[[AppError], Awaitable[Prepared | None]]


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


def texts_of(request: BaseModel) -> dict[str, str]:
    """What a client wrote: prompts and other text of the input."""
    return {name: value for name, value in request if isinstance(value, str)}


def require_local(entry: Entry) -> None:
    """Raises TaskNotSupported for a model of another server."""
    if entry.upstream is not None:
        raise TaskNotSupported(
            f"{entry.name} runs on the server {entry.upstream}; it takes no memory here, and "
            "cannot be loaded, unloaded or removed",
            param="model",
            details={"upstream": entry.upstream},
        )


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
