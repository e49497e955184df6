"""How much memory one run takes beside what is there when it starts.

Torch keeps that account on cards; on a Linux host the kernel does. Elsewhere nobody can be asked.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from onebox.core import os_support
from onebox.core.contracts import Device
from onebox.hardware.host import parse_status

_PROC = Path("/proc/self")
_RESET_PEAK = "5"
_TROUBLE = (OSError, RuntimeError, ValueError, KeyError, AttributeError)

_Peak = Callable[[], int]


class PeakMeter:
    """Measures one run at a time, which must have the process to itself: the account is the whole
    process's, so another run, or a load, beside it is counted as well.

    Starting costs some milliseconds on a host. Never raises.

    Args:
        proc: where the kernel tells about this process.
    """

    def __init__(self, device: Device, proc: Path = _PROC) -> None:
        self._device = device
        self._proc = proc
        self._peak: _Peak | None = None

    def start(self) -> None:
        self._peak = None
        with contextlib.suppress(*_TROUBLE):
            self._peak = self._begin()

    def stop(self) -> int | None:
        """The most bytes taken since `start`, or None where that cannot be measured."""
        peak, self._peak = self._peak, None
        if peak is not None:
            with contextlib.suppress(*_TROUBLE):
                return max(0, peak())
        return None

    def _begin(self) -> _Peak | None:
        if self._device.kind == "cpu":
            return _host_peak(self._proc) if sys.platform == "linux" else None
        torch = sys.modules.get("torch")
        space = _SPACES.get(self._device.kind)
        if torch is None or space is None:
            return None
        return _card_peak(space(torch), self._device.torch_device)


def _card_peak(space: Any, torch_device: str) -> _Peak:
    space.reset_peak_memory_stats(torch_device)
    before = int(space.memory_allocated(torch_device))
    return lambda: int(space.max_memory_allocated(torch_device)) - before


def _host_peak(proc: Path) -> _Peak:
    # Heap that is free already would be used first, and hide what the run needs.
    os_support.return_freed_memory()
    (proc / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
    before = _status(proc)

    def peak() -> int:
        after = _status(proc)
        # Pages of files are not held: the system drops them when it needs the room.
        of_files = max(0, after["RssFile"] - before["RssFile"])
        return after["VmHWM"] - before["VmRSS"] - of_files

    return peak


def _status(proc: Path) -> dict[str, int]:
    return parse_status((proc / "status").read_text(encoding="ascii", errors="replace"))


_SPACES: dict[str, Callable[[Any], Any]] = {
    "cuda": lambda torch: torch.cuda,
    "rocm": lambda torch: torch.cuda,
    "xpu": lambda torch: torch.xpu,
}
