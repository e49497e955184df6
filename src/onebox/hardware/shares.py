"""What several workers share: the CPU's cores are split, the bytes of a memory pool are lent."""

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
    """Bytes for models in the memory pool of `device`, for all its workers together.

    A pool that different devices share has what the one with the most may take of it.

    Args:
        chosen: the devices of all workers.
        setting: `ONEBOX_MEMORY_BUDGET`.

    Raises:
        InvalidInput: the setting is no amount of memory.
    """
    others = (other for other in chosen if other.pool == device.pool and other.id != device.id)
    return max(budget_bytes(sharer, setting) for sharer in (device, *others))
