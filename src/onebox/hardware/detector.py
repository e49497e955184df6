"""Which devices there are, and which of them `ONEBOX_DEVICE` means."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from onebox.core.contracts import Device, DeviceKind
from onebox.core.errors import InvalidInput
from onebox.hardware.facts import Backend, Facts
from onebox.hardware.probes import PROBES

AUTO = "auto"
# The first group with a usable device is taken whole.
_AUTO_ORDER: tuple[frozenset[DeviceKind], ...] = (
    frozenset({"cuda", "rocm"}),
    frozenset({"mps"}),
    frozenset({"xpu"}),
    frozenset({"cpu"}),
)


def detect(backend: Backend) -> list[Device]:
    """Every device, best kind first, the CPU always last."""
    return devices_from(backend.look())


def devices_from(facts: Facts) -> list[Device]:
    """What `detect` makes of the facts."""
    return [device for probe in PROBES for device in probe(facts)]


def choose(devices: Sequence[Device], wanted: Sequence[str]) -> list[Device]:
    """The devices that `ONEBOX_DEVICE` names, one per worker; one named twice gets two workers.

    "auto" takes all usable GPUs (CUDA and ROCm), else MPS, else XPU, else the CPU. The problems of
    GPUs that it passes over become those of the first device it takes, so that they are shown. A
    broken card that is named is returned with its problems. A CPU that is named has none: what it
    stands in for was not wanted.

    Raises:
        InvalidInput: there is no such device; says which there are, and what keeps others away.
    """
    chosen: list[Device] = []
    for name in [text.strip().lower() for text in wanted] or [AUTO]:
        chosen += _auto(devices) if name == AUTO else _named(devices, name)
    return chosen


def _auto(devices: Sequence[Device]) -> list[Device]:
    groups = (
        [d for d in devices if d.kind in kinds and (d.kind == "cpu" or not d.problems)]
        for kinds in _AUTO_ORDER
    )
    first, *rest = next(group for group in groups if group)
    unseen = tuple(text for device in devices if device.kind == "cpu" for text in device.problems)
    broken = [device for device in devices if device.kind != "cpu" and device.problems]
    unused = tuple(f"{d.id} is not used: {text}" for d in broken for text in d.problems)
    return [msgspec.structs.replace(first, problems=unused + unseen), *rest]


def _named(devices: Sequence[Device], name: str) -> list[Device]:
    found = [device for device in devices if name in _names(device)]
    if not found:
        known = ", ".join(f"{device.id} ({device.name})" for device in devices)
        problems = "".join(f" {text}." for device in devices for text in device.problems)
        message = (
            f"ONEBOX_DEVICE={name}: there is no such device; there is: {known}, or auto.{problems}"
        )
        raise InvalidInput(message, param="ONEBOX_DEVICE")
    return [msgspec.structs.replace(d, problems=()) if d.kind == "cpu" else d for d in found]


def _names(device: Device) -> set[str]:
    """What a device may be called; "cuda" and "cuda:0" mean an AMD card too, as in torch."""
    return {device.id, device.kind, device.torch_device, device.torch_device.partition(":")[0]}
