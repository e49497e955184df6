"""Family `motion_adapter`: layers that make an installed Stable Diffusion 1 draw videos.

They come as the folder of a `MotionAdapter`. The pictures' model is the first installed diffusers
folder whose denoiser they fit, or the one that its `onebox.toml` names:

    [components]
    config = "onebox-shapes"
"""

from __future__ import annotations

from typing import Any

from onebox.core.contracts import DTYPE_BYTES, Bundle, Device, Entry
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import bytes_as
from onebox.families.video_diffusion import VideoDiffusion, without_adapter
from onebox.imaging.checkpoints import configs
from onebox.imaging.diffusion.abilities import LATENTS
from onebox.imaging.diffusion.bundles import ready
from onebox.imaging.diffusion.pipeline_folder import load_folder
from onebox.imaging.video import abilities

CLASS_NAME = "MotionAdapter"
PIPELINE = "AnimateDiffPipeline"
CONFIG = "config"
# Of the denoiser of Stable Diffusion 1, by which the size of others is judged.
WIDEST = 1280


class MotionAdapter(VideoDiffusion):
    name = "motion_adapter"
    tasks = frozenset({abilities.TEXT})

    def matches(self, on_disk: OnDisk) -> Match | None:
        if not on_disk.is_folder or "config.json" not in on_disk.files:
            return None
        config = on_disk.read_json("config.json")
        if config.get("_class_name") != CLASS_NAME:
            return None
        if config.get("conv_in_channels"):
            raise ModelBroken(
                "a motion adapter that goes on from a picture (PIA) is not served; take one of "
                "AnimateDiff"
            )
        if not _weights(on_disk):
            raise ModelBroken("there is no .safetensors file; copy the whole folder")
        facts = abilities.facts_of(PIPELINE, {}, {"unet": config})
        # The size is that of the pictures' model.
        told = {name: value for name, value in facts.items() if name not in ("width", "height")}
        wants = {"in_channels": LATENTS, "widths": config.get("block_out_channels")}
        needs = (
            "there is no Stable Diffusion model that it fits; put the diffusers folder of one "
            "into the model folder"
        )
        return Match(PIPELINE, {**told, "parts": {}, "missing": {}, "wants": wants, "needs": needs})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        tensors = [info for file in _weights(on_disk) for info in on_disk.tensors(file).values()]
        widths = on_disk.read_json("config.json").get("block_out_channels") or [WIDEST]
        # What it stands on is not known here, but of which width it is.
        values = sum(configs.VALUES.get(stamp, 0) for stamp in configs.TREES["sd1"].values())
        unet = int(configs.TREES["sd1"]["unet"].partition(":")[2])
        base = int((values + unet) * min(1.0, max(widths) / WIDEST) ** 2)
        own = bytes_as(tensors, device.dtype)
        return own + base * DTYPE_BYTES[device.dtype]

    def load(self, entry: Entry, device: Device) -> Bundle:
        import diffusers
        import torch

        base = entry.components.get(CONFIG)
        if base is None:
            raise ModelBroken(str(entry.facts["needs"]))
        adapter: Any = diffusers.MotionAdapter.from_pretrained(
            entry.path,
            dtype=getattr(torch, entry.overrides.get("dtype", device.dtype)),
            use_safetensors=True,
            local_files_only=True,
        )
        unused = abilities.ability_of(PIPELINE).unused
        pipeline = load_folder(base, PIPELINE, entry, device, unused, motion_adapter=adapter)
        without_adapter(pipeline)
        return ready(pipeline, entry, device)


def _weights(on_disk: OnDisk) -> list[str]:
    return [file for file in on_disk.files if file.endswith(".safetensors")]


FAMILIES.register(MotionAdapter.name, MotionAdapter())
