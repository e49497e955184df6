"""A task that takes a share of its device's memory at once, so that the device's own allocator
fails. Loaded by the server under test through ONEBOX_PLUGINS; works with `dummy_checkpoint`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import RunContext, Task
from onebox.core.plugins import TASKS
from onebox.core.results import Output


class SeizeInput(BaseModel):
    """Shares of the device's memory; `lean_share` is for the second try."""

    share: float
    lean_share: float | None = None


class Seize(Task[SeizeInput]):
    name = "seize"
    summary = "Take a share of the device's memory"
    Input = SeizeInput
    families = frozenset({"dummy"})

    def run(self, bundle: Any, request: SeizeInput, context: RunContext) -> list[Output]:
        import torch

        lean = context.lean and request.lean_share is not None
        share = request.lean_share if lean else request.share
        size_bytes = int((share or 0) * context.device.total_bytes)
        torch.empty(size_bytes, dtype=torch.uint8, device=context.device.torch_device)
        context.step(1, 1)
        return [Output("json", {"lean": context.lean})]


TASKS.register(Seize.name, Seize())
