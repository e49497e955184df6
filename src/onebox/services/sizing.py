"""`Sizing`: what a model's weights and the work of a request take, measured if it ever was."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from onebox.core.contracts import Device, Entry, Family, Task
from onebox.core.plugins import FAMILIES
from onebox.registry.registry import Registry
from onebox.services.footprints import Footprints

# A run may take a little more than the same one before: allocators round and fragment.
_MARGIN = 1.1


@dataclass(frozen=True, slots=True)
class Weights:
    """Bytes of loaded weights: by their headers, and as measured on such a device."""

    estimate_bytes: int
    measured_bytes: int | None

    @property
    def expected_bytes(self) -> int:
        return self.estimate_bytes if self.measured_bytes is None else self.measured_bytes


@dataclass(frozen=True, slots=True)
class Working:
    """Working memory of a run beside the weights: by its input, and the measured peak."""

    estimate_bytes: int
    measured_bytes: int | None

    @property
    def expected_bytes(self) -> int:
        if self.measured_bytes is None:
            return self.estimate_bytes
        return int(self.measured_bytes * _MARGIN)


class Sizing:
    """Used from the event loop, by every request."""

    def __init__(
        self,
        registry: Registry,
        footprints: Footprints,
        families: Mapping[str, Family] = FAMILIES,
    ) -> None:
        self._registry = registry
        self._footprints = footprints
        self._families = families
        self._estimates: dict[tuple[str, str], int] = {}
        # By the entry's key, for what has no hash yet.
        self._unhashed = Footprints(None)

    async def weights(self, entry: Entry, device: Device) -> Weights:
        """Reads headers once per checkpoint and device. Raises ModelNotFound, ModelBroken."""
        key = (entry.key, device.id)
        estimate = self._estimates.get(key)
        if estimate is None:
            estimate = await asyncio.to_thread(self._estimate, entry, device)
            self._estimates[key] = estimate
        where = _dtype(entry, device), _card(device)
        sizes = (store.size_of(name, *where) for store, name in self._stores(entry))
        return Weights(estimate, _first_known(sizes))

    def working(self, entry: Entry, task: Task[Any], request: BaseModel, device: Device) -> Working:
        estimate = task.reserve_bytes(request, entry, device)
        size_class = task.size_class(request)
        if not size_class:
            return Working(estimate, None)
        what = task.name, size_class, _dtype(entry, device), _card(device)
        peaks = (store.peak_of(name, *what) for store, name in self._stores(entry))
        return Working(estimate, _first_known(peaks))

    def remember_weights(self, entry: Entry, device: Device, size_bytes: int) -> None:
        """What the weights took when they were loaded."""
        store, name = next(self._stores(entry))
        store.remember_size(name, _dtype(entry, device), _card(device), size_bytes)

    def remember_working(
        self, entry: Entry, task: Task[Any], request: BaseModel, device: Device, peak_bytes: int
    ) -> None:
        """What a run of the request took. Nothing is kept for requests without a size class."""
        size_class = task.size_class(request)
        if size_class:
            store, name = next(self._stores(entry))
            what = task.name, size_class, _dtype(entry, device), _card(device)
            store.remember_peak(name, *what, peak_bytes)

    def _estimate(self, entry: Entry, device: Device) -> int:
        family = self._families[entry.family or ""]
        return family.estimate(self._registry.on_disk(entry), device)

    def _stores(self, entry: Entry) -> Iterator[tuple[Footprints, str]]:
        """Where a checkpoint's figures may be and under which name, the lasting place first."""
        if entry.sha256 is not None:
            yield self._footprints, entry.sha256
        yield self._unhashed, entry.key


def _first_known(values: Iterator[int | None]) -> int | None:
    return next((value for value in values if value is not None), None)


def _dtype(entry: Entry, device: Device) -> str:
    """How the weights are kept: their dtype, or what they are quantised to."""
    own = entry.overrides
    return str(own.get("quantization") or own.get("dtype", device.dtype))


def _card(device: Device) -> str:
    return f"{device.kind} {device.name}"
