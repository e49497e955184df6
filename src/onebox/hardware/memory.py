"""Bytes: what a budget comes to, what is free, and giving memory back."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import psutil

from onebox.core import os_support
from onebox.core.contracts import Device
from onebox.core.memory_amounts import GIB, MIB, parse_bytes
from onebox.hardware.facts import Backend
from onebox.hardware.host import anonymous_bytes, read_memory

HOST_POOL = "host"

_STEP = 64 * MIB


def reserve_bytes(device: Device) -> int:
    """What stays free for everything that is not a model.

    A card: 5 % and at least 512 MiB, for libraries and fragments. Host memory: 10 % and at least
    1 GiB, for the gateway, the code of the workers and the system.
    """
    if device.pool == HOST_POOL:
        return max(device.total_bytes // 10, GIB)
    return max(device.total_bytes // 20, 512 * MIB)


def budget_bytes(device: Device, setting: str | None, *, used_by_others: int | None = None) -> int:
    """Bytes that models may take on this device.

    Without a setting: what is free less the reserve. With one: on a card what it says, up to the
    card's total; in host memory also no more than other programs leave, since there the system
    kills who goes beyond.

    Args:
        setting: `ONEBOX_MEMORY_BUDGET`.
        used_by_others: bytes that others than our workers hold now; default is what was taken when
            the device was detected. Pass a fresh number to follow others as they come and go.

    Raises:
        InvalidInput: the setting is no amount of memory.
    """
    if used_by_others is None:
        used_by_others = device.total_bytes - device.free_bytes
    room = max(0, device.total_bytes - used_by_others - reserve_bytes(device))
    if setting is None:
        return room
    amount = parse_bytes(setting)
    wanted = int(amount * device.total_bytes) if isinstance(amount, float) else amount
    return min(wanted, room if device.pool == HOST_POOL else device.total_bytes)


def free_bytes(device: Device, backend: Backend) -> int:
    """What this process could still allocate on the device now."""
    return backend.free_bytes(device.torch_device)


def held_bytes(device: Device) -> int:
    """What this process holds on the device: before and after an unload, what that gave back.

    In host memory, all that no file backs, since torch keeps no account there. Imports nothing.
    """
    torch = sys.modules.get("torch")
    held = _HELD.get(device.kind)
    if held is None:
        return anonymous_bytes(os.getpid())
    return held(torch, device) if torch is not None else 0


def host_used_by_others(device: Device, pids: Sequence[int], *, unified_bytes: int = 0) -> int:
    """What other programs take of a device's host memory now, in steps of 64 MiB.

    Args:
        device: one of the host pool.
        pids: our processes, the gateway and its workers; one that is gone counts nothing.
        unified_bytes: what they hold in unified memory by way of a graphics driver, which the
            system does not count as theirs.
    """
    _, available = read_memory()
    ours = sum(map(anonymous_bytes, pids)) + unified_bytes
    return others_bytes(device.total_bytes, available, ours)


def others_bytes(total_bytes: int, available_bytes: int, ours_bytes: int) -> int:
    """What is neither available nor ours, rounded up to 64 MiB: it always moves a little, and a
    limit should not follow that.
    """
    used = max(0, total_bytes - available_bytes - ours_bytes)
    return min(total_bytes, -(-used // _STEP) * _STEP)


def resident_bytes() -> int:
    """Physical memory that this process holds."""
    return int(psutil.Process().memory_info().rss)


def empty_cache(device: Device) -> None:
    """Give memory that no tensor holds back to the device and the system. Imports nothing."""
    gc.collect()
    torch = sys.modules.get("torch")
    empty = _EMPTY.get(device.kind)
    if torch is not None and empty is not None:
        empty(torch, device)
    os_support.return_freed_memory()


def _held_cuda(torch: Any, device: Device) -> int:
    if not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.memory_allocated(device.torch_device))


def _held_mps(torch: Any, device: Device) -> int:
    return int(torch.mps.current_allocated_memory())


def _held_xpu(torch: Any, device: Device) -> int:
    return int(torch.xpu.memory_allocated(device.torch_device))


def _empty_cuda(torch: Any, device: Device) -> None:
    if torch.cuda.is_initialized():
        with torch.cuda.device(device.torch_device):
            torch.cuda.empty_cache()
            torch.cuda.ipc_collect()


def _empty_mps(torch: Any, device: Device) -> None:
    torch.mps.empty_cache()


def _empty_xpu(torch: Any, device: Device) -> None:
    torch.xpu.empty_cache()


_EMPTY: dict[str, Callable[[Any, Device], None]] = {
    "cuda": _empty_cuda,
    "rocm": _empty_cuda,
    "mps": _empty_mps,
    "xpu": _empty_xpu,
}

_HELD: dict[str, Callable[[Any, Device], int]] = {
    "cuda": _held_cuda,
    "rocm": _held_cuda,
    "mps": _held_mps,
    "xpu": _held_xpu,
}
