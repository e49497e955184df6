"""A family and tasks without weights, for tests of the whole server: results come from the input.

Loaded by the server under test through ONEBOX_PLUGINS; made with `dummy_checkpoint`.
"""

from __future__ import annotations

import json
import socket
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from onebox.core.contracts import Bundle, Device, Entry, Family, Match, OnDisk, RunContext, Task
from onebox.core.errors import InvalidInput, ModelBroken
from onebox.core.media import MediaRef
from onebox.core.plugins import FAMILIES, TASKS
from onebox.core.results import Output

# A valid safetensors file without tensors.
EMPTY_SAFETENSORS = (2).to_bytes(8, "little") + b"{}"


def dummy_checkpoint(folder: Path, **config: Any) -> Path:
    """Write a checkpoint for `DummyFamily`.

    `resident_bytes`, `load_error` and `load_s` shape it.
    """
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(EMPTY_SAFETENSORS)
    (folder / "config.json").write_text(json.dumps({"model_type": "onebox-dummy", **config}))
    return folder


class DummyBundle:
    loads = 0

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        DummyBundle.loads += 1
        self.number = DummyBundle.loads

    def close(self) -> None:
        self.size_bytes = 0


class DummyFamily(Family):
    name = "dummy"

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "config.json" not in on_disk.files:
            return None
        config = on_disk.read_json("config.json")
        if config.get("model_type") != "onebox-dummy":
            return None
        if config.get("broken"):
            raise ModelBroken("it says so itself")
        return Match("Dummy", config)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return int(on_disk.read_json("config.json").get("resident_bytes", 1000))

    def load(self, entry: Entry, device: Device) -> Bundle:
        time.sleep(entry.facts.get("load_s", 0))
        if entry.facts.get("load_error"):
            raise ValueError("secret detail of a failed load")
        return DummyBundle(entry.facts.get("resident_bytes", 1000))


class EchoInput(BaseModel):
    text: str = Field("", max_length=100)
    reserve_bytes: int = 0


class Echo(Task[EchoInput]):
    """Gives the text back, and which load of the model answered."""

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
        return [Output("json", {"text": request.text, "load": bundle.number})]


class StepsInput(BaseModel):
    steps: int = 1
    step_s: float = 0.0
    fail: str | None = None


class Steps(Task[StepsInput]):
    """Takes as many steps as asked, each as long as asked, then fails if asked."""

    name = "steps"
    summary = "Take steps"
    Input = StepsInput
    families = frozenset({"dummy"})

    def run(self, bundle: Any, request: StepsInput, context: RunContext) -> list[Output]:
        for step in range(request.steps):
            time.sleep(request.step_s)
            context.step(step + 1, request.steps)
        if request.fail == "bug":
            raise ValueError("secret detail of a bug")
        if request.fail == "memory":
            raise MemoryError
        if request.fail == "network":
            socket.create_connection(("127.0.0.1", 9), timeout=1)
        return [Output("json", {"steps": request.steps})]


class LengthInput(BaseModel):
    data: MediaRef
    times: int = 1


class Length(Task[LengthInput]):
    """Binary in, binary out."""

    name = "repeat-bytes"
    summary = "Repeat bytes"
    Input = LengthInput
    families = frozenset({"dummy"})

    def run(self, bundle: Any, request: LengthInput, context: RunContext) -> list[Output]:
        data = context.read(request.data) * request.times
        return [Output("bytes", data, {"media_type": "application/x-dummy"}, {"length": len(data)})]


FAMILIES.register(DummyFamily.name, DummyFamily())
for task in (Echo(), Steps(), Length()):
    TASKS.register(task.name, task)
