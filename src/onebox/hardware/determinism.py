"""Runs whose results are the same bit by bit, again on the same device.

Torch's switches for it belong to the whole process, so they are thrown for such a run alone, and
back while another engine has the device.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NamedTuple

from onebox.core.contracts import Device

# CUBLAS reads it when CUDA starts in a process, so it must be set before that. Without it torch
# refuses matrix products in deterministic runs.
ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8"}

_RAISE = 2  # where there is no deterministic form; 1 warns, 0 computes as is fastest
_NO_FORM = re.compile(r"does not have a deterministic implementation")


def lacks_deterministic_form(error: BaseException) -> bool:
    """Whether torch refused an operation because it has no deterministic form on this device."""
    return isinstance(error, RuntimeError) and _NO_FORM.search(str(error)) is not None


class _Switch(NamedTuple):
    read: Callable[[], Any]
    write: Callable[[Any], object]
    wanted: Any


class Deterministic:
    """A `with` block in which torch computes deterministically on `device`, or raises.

    Not reentrant, and of use only while no other thread computes. Does nothing in a process that
    has not imported torch.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._switches: list[_Switch] = []
        self._before: list[Any] = []

    def __enter__(self) -> Deterministic:
        torch = sys.modules.get("torch")
        self._switches = [] if torch is None else list(_switches(torch, self._device))
        self._turn_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._turn_back()

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Inside the block: everything as it was before, for others who have the device now."""
        self._turn_back()
        try:
            yield
        finally:
            self._turn_on()

    def _turn_on(self) -> None:
        self._before = [switch.read() for switch in self._switches]
        for switch in self._switches:
            switch.write(switch.wanted)

    def _turn_back(self) -> None:
        for switch, value in zip(self._switches, self._before, strict=True):
            switch.write(value)


def _switches(torch: Any, device: Device) -> Iterator[_Switch]:
    # Not `use_deterministic_algorithms`, which imports torch's whole compiler to tell it as well.
    yield _Switch(torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, _RAISE)
    if device.kind in {"cuda", "rocm"}:
        yield from _card_switches(torch)


def _card_switches(torch: Any) -> Iterator[_Switch]:
    """No autotuning, which may choose another kernel each time, and one way to do attention."""
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda
    yield _Switch(lambda: cudnn.benchmark, lambda on: setattr(cudnn, "benchmark", on), False)
    yield _Switch(lambda: cudnn.deterministic, lambda on: setattr(cudnn, "deterministic", on), True)
    yield _Switch(cuda.math_sdp_enabled, cuda.enable_math_sdp, True)
    yield _Switch(cuda.flash_sdp_enabled, cuda.enable_flash_sdp, False)
    yield _Switch(cuda.mem_efficient_sdp_enabled, cuda.enable_mem_efficient_sdp, False)
    yield _Switch(cuda.cudnn_sdp_enabled, cuda.enable_cudnn_sdp, False)
