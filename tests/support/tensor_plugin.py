"""A family of real tensors in a worker whose address space is limited, so that torch itself runs
out of memory there; and a task that also says so by itself, as a card would.

Loaded by the server under test through ONEBOX_PLUGINS; made with `tensor_checkpoint`.
"""

from __future__ import annotations

import resource
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil
from pydantic import BaseModel

from onebox.core.contracts import Bundle, Device, Entry, Family, RunContext, Task
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES, TASKS
from onebox.core.results import Output
from tests.support.dummy_plugin import dummy_checkpoint, wait_for_cue

TENSORS = "onebox-tensors"
GIB = 1024**3
# What the worker may take beside what it has when it is up: stacks and arenas of threads count too.
ROOM_BYTES = 4 * GIB


def tensor_checkpoint(folder: Path, weights_bytes: int, **config: Any) -> Path:
    """Its estimate tells of next to nothing, so that only torch can find out."""
    return dummy_checkpoint(folder, model_type=TENSORS, weights_bytes=weights_bytes, **config)


class TensorBundle:
    size_bytes = 1000

    def __init__(self, weights: Any) -> None:
        self.weights = weights

    def close(self) -> None:
        self.weights = None


class TensorFamily(Family):
    name = "tensors"
    engine = "microbatch"
    tasks = frozenset({"steps"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "config.json" not in on_disk.files:
            return None
        config = on_disk.read_json("config.json")
        return Match("Tensors", config) if config.get("model_type") == TENSORS else None

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return TensorBundle.size_bytes

    def load(self, entry: Entry, device: Device) -> Bundle:
        wait_for_cue(entry.facts.get("load_cue"), lambda: None)
        return TensorBundle(_tensor(entry.facts["weights_bytes"]))

    def warm_up(self) -> None:
        taken = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM_BYTES, resource.RLIM_INFINITY))


class FillInput(BaseModel):
    work_bytes: int
    lean_bytes: int | None = None
    together: bool = False
    out_of_memory: Literal["never", "first", "always"] = "never"


class Fill(Task[FillInput]):
    """Takes a tensor for all that run together; tells how many, and whether it had to be lean."""

    name = "fill"
    summary = "Take memory"
    Input = FillInput
    families = frozenset({"tensors"})

    def batch_key(self, request: FillInput, entry: Entry) -> Hashable | None:
        return "fill" if request.together else None

    def max_items(self, request: FillInput, entry: Entry, device: Device) -> int:
        return 8

    def run(self, bundle: Any, request: FillInput, context: RunContext) -> list[Output]:
        return self.run_batch(bundle, [request], context)[0]

    def run_batch(
        self, bundle: Any, requests: Sequence[FillInput], context: RunContext
    ) -> list[list[Output]]:
        import torch

        when = requests[0].out_of_memory
        if when == "always" or (when == "first" and not context.lean):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        _tensor(sum(_work_bytes(request, context) for request in requests))
        context.step(1, 1)
        answer = {"lean": context.lean, "batch": len(requests)}
        return [[Output("json", answer)] for _ in requests]


def _work_bytes(request: FillInput, context: RunContext) -> int:
    if context.lean and request.lean_bytes is not None:
        return request.lean_bytes
    return request.work_bytes


def _tensor(size_bytes: int) -> Any:
    """Not written to: an address space is full before memory is."""
    import torch

    return torch.empty(size_bytes, dtype=torch.uint8)


FAMILIES.register(TensorFamily.name, TensorFamily())
TASKS.register(Fill.name, Fill())
