"""What one worker gets of what several share: the CPU's cores, and the bytes of a memory pool."""

from __future__ import annotations

from collections.abc import Sequence

from onebox.core.contracts import Device
from onebox.hardware.memory import budget_bytes
from onebox.hardware.threads import torch_threads


def threads_of(device: Device, chosen: Sequence[Device], setting: int | None, cpus: int) -> int:
    """Torch threads of the worker on `device`. Workers on the CPU share its cores.

    Args:
        chosen: the devices of all workers, one entry a worker.
        setting: `ONEBOX_THREADS`.
        cpus: CPUs this process may really use.
    """
    on_cpu = sum(other.kind == "cpu" for other in chosen)
    return torch_threads(setting, cpus, workers=on_cpu if device.kind == "cpu" else 1)


def budget_of(device: Device, chosen: Sequence[Device], setting: str | None) -> int:
    """Bytes for models of the worker on `device`. Workers on one pool share its memory.

    Raises InvalidInput if the setting, `ONEBOX_MEMORY_BUDGET`, is no amount of memory.
    """
    sharers = sum(other.pool == device.pool for other in chosen)
    return budget_bytes(device, setting) // sharers
