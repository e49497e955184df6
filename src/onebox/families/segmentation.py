"""Family `segmentation`: models that tell the foreground of a picture, or its parts by label."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onebox.core.contracts import Bundle, Device, DtypeName, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.remote_code import refuse_remote_code
from onebox.core.weight_sizes import bytes_as
from onebox.imaging.segmentation.contracts import SegmentationBundle
from onebox.imaging.segmentation.library import MASK_CLASSES, PIXEL_CLASSES, working_pixels
from onebox.imaging.segmentation.salient import SIDE
from onebox.imaging.segmentation.u2net_names import looks_like_u2net, missing
from onebox.language.checkpoints.checkpoint_files import (
    CONFIG,
    class_name,
    weight_files,
    weight_tensors,
)

U2NET = "U2Net"
PREPROCESSOR = "preprocessor_config.json"
ENDING = ".safetensors"
MAX_LABELS = 10_000
# These models are small, and in bfloat16 a matte would have steps that can be seen.
DTYPE: DtypeName = "float32"


class Segmentation(Family):
    name = "segmentation"
    tasks = frozenset({"cutout"})

    def matches(self, on_disk: OnDisk) -> Match | None:
        weights = _u2net_weights(on_disk)
        if weights is not None:
            lacking = missing(on_disk.tensors(weights))
            if lacking:
                raise ModelBroken(
                    f"{len(lacking)} weights of U²-Net are missing, such as {lacking[0]}; copy "
                    "the file again"
                )
            return Match(U2NET, {"labels": [], "pixels": SIDE * SIDE})
        kind = class_name(on_disk)
        if kind not in PIXEL_CLASSES | MASK_CLASSES:
            return None
        refuse_remote_code(on_disk)
        for name in weight_files(on_disk):
            on_disk.tensors(name)
        if PREPROCESSOR not in on_disk.files:
            raise ModelBroken(f"{PREPROCESSOR} is missing; copy the whole checkpoint")
        told = on_disk.read_json(PREPROCESSOR).get("size")
        pixels = working_pixels(told if isinstance(told, dict) else {})
        return Match(kind, {"labels": _labels(on_disk.read_json(CONFIG)), "pixels": pixels})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        weights = _u2net_weights(on_disk)
        tensors = on_disk.tensors(weights) if weights else weight_tensors(on_disk)
        return bytes_as(tensors.values(), DTYPE)

    def load(self, entry: Entry, device: Device) -> Bundle:
        import torch

        from onebox.imaging.segmentation.library import load_library_model
        from onebox.imaging.segmentation.salient import load_u2net

        place, dtype = device.torch_device, getattr(torch, entry.overrides.get("dtype", DTYPE))
        if entry.kind != U2NET:
            return SegmentationBundle(load_library_model(entry.path, str(entry.kind), place, dtype))
        path = Path(entry.path)
        weights = path if path.is_file() else next(path.glob(f"*{ENDING}"))
        return SegmentationBundle(load_u2net(weights, place, dtype))

    def warm_up(self) -> None:
        from onebox.language.checkpoints.loading import silence

        silence()
        from transformers import (  # noqa: F401
            AutoImageProcessor,
            AutoModelForSemanticSegmentation,
        )


def _u2net_weights(on_disk: OnDisk) -> str | None:
    """The one weight file, if it is U²-Net's: of a file by itself, or of a folder with no other."""
    files = [name for name in on_disk.files if name.endswith(ENDING)]
    if len(files) != 1 or "/" in files[0]:
        return None
    return files[0] if looks_like_u2net(on_disk.tensors(files[0])) else None


def _labels(config: Mapping[str, Any]) -> list[str]:
    """By number; empty where there is only one, for then it is the object itself."""
    told = config.get("id2label")
    names = told if isinstance(told, dict) else {"0": "LABEL_0", "1": "LABEL_1"}
    if not names or len(names) > MAX_LABELS or names.keys() != set(map(str, range(len(names)))):
        raise ModelBroken(f"{CONFIG}: id2label does not number its labels; copy the file again")
    return [] if len(names) == 1 else [str(names[str(number)]) for number in range(len(names))]


FAMILIES.register(Segmentation.name, Segmentation())
