"""Family `video_diffusion`: diffusers folders that make videos.

What may be loaded is an allow-list of class names (`imaging/video/abilities.py`, which also says
what each can do); a folder that names code of its own is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.core.contracts import Bundle, Device, Entry
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.families.image_diffusion import ImageDiffusion
from onebox.imaging.diffusion.bundles import ready
from onebox.imaging.diffusion.memory_plan import DENOISERS
from onebox.imaging.diffusion.pipeline_folder import (
    components_of,
    folder_bytes,
    index_of,
    load_folder,
    read_index,
)
from onebox.imaging.video import abilities

# A denoiser of this class holds the motion adapter's weights already.
WITH_MOTION = "UNetMotionModel"


class VideoDiffusion(ImageDiffusion):
    name = "video_diffusion"
    engine = "exclusive"
    tasks = abilities.TASK_NAMES

    def matches(self, on_disk: OnDisk) -> Match | None:
        index = index_of(on_disk, abilities.class_names())
        if index is None:
            return None
        configs = {
            name: on_disk.read_json(f"{name}/config.json")
            for name, _ in components_of(index)
            if name in (*DENOISERS, "vae", "motion_adapter")
        }
        facts = abilities.facts_of(index["_class_name"], index, configs)
        return Match(index["_class_name"], facts, frozenset(facts["classes"]))

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return folder_bytes(on_disk, _unused(on_disk.read_json("model_index.json")), device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        index = read_index(entry.path)
        class_name = index["_class_name"]
        pipeline = load_folder(entry.path, class_name, entry, device, _unused(index))
        without_adapter(pipeline)
        return ready(pipeline, entry, device)


def without_adapter(pipeline: Any) -> None:
    """Let go of a motion adapter whose weights the denoiser has copied."""
    if pipeline.components.get("motion_adapter") is not None:
        pipeline.register_modules(motion_adapter=None)


def _unused(index: Mapping[str, Any]) -> frozenset[str]:
    unused = abilities.ability_of(index["_class_name"]).unused
    merged = (index.get("unet") or [None, None])[1] == WITH_MOTION
    return unused | {"motion_adapter"} if merged else unused


FAMILIES.register(VideoDiffusion.name, VideoDiffusion())
