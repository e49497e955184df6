"""What tests of image pipelines share: a device, an entry, a context, a request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onebox.core.contracts import Device, Entry, Family, TaskDefaults
from onebox.core.errors import Cancelled
from onebox.core.media import MediaRef
from onebox.families.image_diffusion import ImageDiffusion
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.registry.on_disk import open_on_disk
from onebox.tasks.text_to_image import TextToImage, TextToImageInput

GIB = 1024**3
TASK = TextToImage()
FAMILY = ImageDiffusion()


def device(dtype: Any = "float32", vae_dtype: Any = "float32") -> Device:
    return Device("cpu", "cpu", "CPU", "cpu", "host", GIB, GIB, dtype, vae_dtype)


def entry(folder: Path, family: Family = FAMILY, **overrides: Any) -> Entry:
    match = family.matches(open_on_disk(folder))
    assert match is not None
    return Entry(
        key="k",
        name="tiny",
        path=str(folder),
        extension="",
        size_bytes=1,
        status="ready",
        sha256="ab" * 32,
        family=family.name,
        kind=match.kind,
        facts=dict(match.facts),
        tasks=tuple(sorted(match.tasks or family.tasks)),
        overrides=overrides,
    )


class Context:
    """A RunContext that keeps the steps and can be told to stop at one."""

    def __init__(self, folder: Path, stop_at: int | None = None, lean: bool = False) -> None:
        self.lean = lean
        self.device = device()
        self.entry = entry(folder)
        self.steps: list[tuple[int, int]] = []
        self._stop_at = stop_at

    def check(self) -> None:
        if self._stop_at is not None and len(self.steps) >= self._stop_at:
            raise Cancelled("stop")

    def step(self, step: int, steps: int) -> None:
        self.steps.append((step, steps))
        self.check()

    def delta(self, data: dict[str, Any]) -> None:
        raise AssertionError("nothing is streamed")

    def read(self, media: MediaRef) -> bytes:
        assert media.data is not None
        return media.data


def resolve(folder: Path, **request: Any) -> TextToImageInput:
    asked = TextToImageInput(
        **{"prompt": "a red circle", "steps": 2, "guidance_scale": 5.0, **request}
    )
    return TASK.resolve(asked, entry(folder), TaskDefaults(2, 7.5))


def draw(bundle: PipelineBundle, folder: Path, **request: Any) -> list[np.ndarray]:
    outputs = TASK.run(bundle, resolve(folder, **request), Context(folder))
    return [np.asarray(output.value) for output in outputs]


def assert_alike(one: np.ndarray, two: np.ndarray) -> None:
    """Equal but for rounding: a batch is computed in blocks of another shape."""
    assert np.abs(one.astype(int) - two.astype(int)).max() <= 2
