"""A family and tasks without weights, for tests of the whole server: results come from the input.

Loaded by the server under test through ONEBOX_PLUGINS; made with `dummy_checkpoint`.
"""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, Field, PrivateAttr

from onebox.core.contracts import Bundle, Device, Entry, Family, RunContext, Task
from onebox.core.errors import InvalidInput, ModelBroken
from onebox.core.media import MediaRef
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES, TASKS
from onebox.core.results import Output

# A valid safetensors file without tensors.
EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"
BATCHED = "onebox-dummy-batched"
MAX_ITEMS = 4

# Numbers the runs of a worker, so that a test can tell in which order they were.
runs = itertools.count(1)


def dummy_checkpoint(folder: Path, **config: Any) -> Path:
    """Write a checkpoint for `DummyFamily`, or for the family of another `model_type`.

    `load_s` and `load_error` shape its load, which ends once there is something at `load_cue`;
    `resident_bytes` is its estimate and `actual_bytes` its size if that is another one;
    `taken_bytes` it really takes, and with `leaks` never returns.
    """
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(EMPTY_SAFETENSORS)
    (folder / "config.json").write_text(json.dumps({"model_type": "onebox-dummy", **config}))
    return folder


def wait_for_cue(path: str | None, meanwhile: Callable[[], None]) -> None:
    """Until there is something at the path, if one is given."""
    while path is not None and not Path(path).exists():
        meanwhile()
        time.sleep(0.005)


class DummyBundle:
    loads = 0
    leaked: ClassVar[list[bytes]] = []

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.size_bytes = facts.get("actual_bytes", facts.get("resident_bytes", 1000))
        # Not zeros: those would take no memory until they are written.
        self._taken = b"x" * facts.get("taken_bytes", 0)
        self._leaks = facts.get("leaks", False)
        DummyBundle.loads += 1
        self.number = DummyBundle.loads

    def close(self) -> None:
        if self._leaks:
            DummyBundle.leaked.append(self._taken)
        self._taken = b""


class DummyFamily(Family):
    name = "dummy"
    model_type = "onebox-dummy"

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "config.json" not in on_disk.files:
            return None
        config = on_disk.read_json("config.json")
        if config.get("model_type") != self.model_type:
            return None
        if config.get("broken"):
            raise ModelBroken("it says so itself")
        return Match("Dummy", config)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return int(on_disk.read_json("config.json").get("resident_bytes", 1000))

    def load(self, entry: Entry, device: Device) -> Bundle:
        time.sleep(entry.facts.get("load_s", 0))
        wait_for_cue(entry.facts.get("load_cue"), lambda: None)
        if entry.facts.get("load_error"):
            raise ValueError("secret detail of a failed load")
        return DummyBundle(entry.facts)


class BatchedFamily(DummyFamily):
    """The same, for requests that may be merged."""

    name = "dummy-batched"
    model_type = BATCHED
    engine = "microbatch"
    tasks = frozenset({"steps"})


class EchoInput(BaseModel):
    text: str = Field("", max_length=100)
    reserve_bytes: int = 0


class Echo(Task[EchoInput]):
    """Gives the text back, which load of the model answered, and as which run of the worker."""

    name = "echo"
    summary = "Give the text back"
    Input = EchoInput
    families = frozenset({"dummy"})

    def check(self, request: EchoInput, entry: Entry) -> None:
        if request.text == "refuse":
            raise InvalidInput("text: not this one", param="text")
        if request.text == "buggy check":
            raise ValueError("secret detail of a bug in a check")

    def reserve_bytes(self, request: EchoInput, entry: Entry, device: Device) -> int:
        return request.reserve_bytes

    def run(self, bundle: Any, request: EchoInput, context: RunContext) -> list[Output]:
        answer = {"text": request.text, "load": bundle.number, "run": next(runs)}
        return [Output("json", answer)]


class StepsInput(BaseModel):
    """`cue`: a path; the last step ends once there is something."""

    steps: int = 1
    step_s: float = 0.0
    fail: str | None = None
    cue: str | None = None
    _came: int = PrivateAttr(0)


class Steps(Task[StepsInput]):
    """Takes as many steps as asked, each as long as asked, then fails if asked. Tells how many
    steps the others of its worker took from when it came until its own last one.
    """

    name = "steps"
    summary = "Take steps"
    Input = StepsInput
    families = frozenset({"dummy"})
    taken = 0

    def check(self, request: StepsInput, entry: Entry) -> None:
        request._came = Steps.taken

    def run(self, bundle: Any, request: StepsInput, context: RunContext) -> list[Output]:
        others = 0
        for step in range(1, request.steps + 1):
            time.sleep(request.step_s)
            if step == request.steps:
                wait_for_cue(request.cue, context.hand_over)
            Steps.taken += 1
            others = Steps.taken - request._came - step
            context.step(step, request.steps)
        if request.fail == "bug":
            raise ValueError("secret detail of a bug")
        if request.fail == "memory":
            raise MemoryError
        if request.fail == "network":
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        return [Output("json", {"steps": request.steps, "others": others})]


class LengthInput(BaseModel):
    data: MediaRef
    times: int = Field(1, ge=0, le=1_000_000)


class Length(Task[LengthInput]):
    """Binary in, binary out."""

    name = "repeat-bytes"
    summary = "Repeat bytes"
    Input = LengthInput
    families = frozenset({"dummy"})

    def run(self, bundle: Any, request: LengthInput, context: RunContext) -> list[Output]:
        data = context.read(request.data) * request.times
        return [Output("bytes", data, {"media_type": "application/x-dummy"}, {"length": len(data)})]


class JoinInput(BaseModel):
    parts: list[MediaRef]


class Join(Task[JoinInput]):
    """Several binary inputs."""

    name = "join-bytes"
    summary = "Join bytes"
    Input = JoinInput
    families = frozenset({"dummy"})

    def run(self, bundle: Any, request: JoinInput, context: RunContext) -> list[Output]:
        data = b"".join([context.read(part) for part in request.parts])
        return [Output("bytes", data, {"media_type": "application/x-dummy"})]


class TogetherInput(BaseModel):
    """`cue`: as of `StepsInput`."""

    text: str = ""
    shape: int = 0
    items: int = 1
    work_bytes: int = 0
    steps: int = 1
    step_s: float = 0.0
    cue: str | None = None


class Together(Task[TogetherInput]):
    """Requests of one shape run as one; each is told with whom. "poison" breaks the run."""

    name = "together"
    summary = "Run together"
    Input = TogetherInput
    families = frozenset({"dummy-batched"})

    def reserve_bytes(self, request: TogetherInput, entry: Entry, device: Device) -> int:
        return request.work_bytes

    def batch_key(self, request: TogetherInput, entry: Entry) -> Hashable | None:
        return request.shape

    def items(self, request: TogetherInput) -> int:
        return request.items

    def max_items(self, request: TogetherInput, entry: Entry, device: Device) -> int:
        return MAX_ITEMS

    def run(self, bundle: Any, request: TogetherInput, context: RunContext) -> list[Output]:
        return self.run_batch(bundle, [request], context)[0]

    def run_batch(
        self, bundle: Any, requests: Sequence[TogetherInput], context: RunContext
    ) -> list[list[Output]]:
        steps = max(request.steps for request in requests)
        for step in range(steps):
            time.sleep(requests[0].step_s)
            context.step(step + 1, steps)
        wait_for_cue(requests[0].cue, context.hand_over)
        texts = [request.text for request in requests]
        if "poison" in texts:
            raise ValueError("secret detail of a bug")
        run = next(runs)
        return [[Output("json", {"text": text, "with": texts, "run": run})] for text in texts]


for family in (DummyFamily(), BatchedFamily()):
    FAMILIES.register(family.name, family)
for task in (Echo(), Steps(), Length(), Join(), Together()):
    TASKS.register(task.name, task)
