"""Family `image_diffusion`: diffusers folders that make pictures.

What may be loaded is an allow-list of class names (`imaging/diffusion/abilities.py`, which also
says what each can do); a folder that names code of its own is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import Match, OnDisk
from onebox.core.plugins import FAMILIES
from onebox.imaging.checkpoints.stamps import stamps_of_folder
from onebox.imaging.diffusion import abilities
from onebox.imaging.diffusion.bundles import ready
from onebox.imaging.diffusion.pipeline_folder import (
    components_of,
    folder_bytes,
    index_of,
    load_folder,
    read_index,
)

LEARNT_PLACES = "AuraFlowTransformer2DModel"
SAFETY_CHECKERS = frozenset({"safety_checker", "feature_extractor", "image_encoder"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What a denoiser's configuration tells of what it can do.

    Attributes:
        in_channels: of the denoiser.
        text_width: of the text it reads.
        native_size: side in pixels of the pictures that were learnt.
        max_side: in pixels, of what it can draw at all; None where nothing ends it.
    """

    in_channels: int | None = None
    text_width: int | None = None
    native_size: int | None = None
    is_refiner: bool = False
    max_side: int | None = None


def match_of(class_name: str, shape: Shape) -> Match:
    """A claim on a checkpoint of this pipeline class.

    Raises ModelBroken when nothing can be done with it.
    """
    base = abilities.base_of(class_name, text_width=shape.text_width, is_refiner=shape.is_refiner)
    tasks = abilities.tasks_of(class_name, base, shape.in_channels)
    if not tasks:
        raise ModelBroken(
            f"its denoiser takes {shape.in_channels} channels, which no pipeline for a "
            f"{class_name} gives it; such a model (for depth, edges, …) is not served"
        )
    facts = abilities.facts_of(class_name, base, shape.in_channels, shape.native_size)
    if shape.text_width is not None:
        facts["text_width"] = shape.text_width
    if shape.max_side is not None:
        facts["max_side"] = shape.max_side
        facts["native_size"] = min(shape.max_side, facts.get("native_size", shape.max_side))
    return Match(class_name, facts, tasks)


class ImageDiffusion(Family):
    name = "image_diffusion"
    engine = "microbatch"
    tasks = abilities.TASK_NAMES

    def matches(self, on_disk: OnDisk) -> Match | None:
        index = index_of(on_disk, abilities.class_names(), SAFETY_CHECKERS)
        if index is None:
            return None
        components = dict(components_of(index))
        match = match_of(index["_class_name"], _shape(on_disk, index, components))
        # By which single files find what they lack.
        facts = {**match.facts, "parts": stamps_of_folder(on_disk, components)}
        if "unet" in components:
            # By which motion adapters find what they stand on.
            facts["widths"] = on_disk.read_json("unet/config.json").get("block_out_channels")
        return Match(match.kind, facts, match.tasks)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return folder_bytes(on_disk, SAFETY_CHECKERS, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        class_name = read_index(entry.path)["_class_name"]
        return ready(
            load_folder(entry.path, class_name, entry, device, SAFETY_CHECKERS), entry, device
        )

    def warm_up(self) -> None:
        from transformers.utils import logging as transformers_logging

        # Before diffusers is imported, or its notices are out already.
        _silence(transformers_logging)
        from diffusers import StableDiffusionPipeline  # noqa: F401
        from diffusers.utils import logging as diffusers_logging

        _silence(diffusers_logging)


def _silence(library_logging: Any) -> None:
    """No notices and no progress bars between the lines of a server's log."""
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()


def _shape(on_disk: OnDisk, index: Mapping[str, Any], components: Mapping[str, str]) -> Shape:
    denoiser = next((name for name in ("unet", "transformer") if name in components), None)
    if denoiser is None:
        return Shape()
    config = on_disk.read_json(f"{denoiser}/config.json")
    return Shape(
        _number(config.get("in_channels")),
        _number(config.get("cross_attention_dim")),
        _native_size(on_disk, config) if "vae" in components else None,
        bool(index.get("requires_aesthetics_score")),
        _max_side(on_disk, config) if "vae" in components else None,
    )


def _native_size(on_disk: OnDisk, denoiser: Mapping[str, Any]) -> int | None:
    """In pixels, where the configuration tells it."""
    latents = _number(denoiser.get("sample_size"))
    levels = _levels(on_disk)
    return latents * 2 ** (levels - 1) if latents and levels else None


def _max_side(on_disk: OnDisk, denoiser: Mapping[str, Any]) -> int | None:
    """AuraFlow learnt each place of a square, and knows none beyond it."""
    places, patch = (_number(denoiser.get(name)) for name in ("pos_embed_max_size", "patch_size"))
    levels = _levels(on_disk)
    if denoiser.get("_class_name") != LEARNT_PLACES or not (places and patch and levels):
        return None
    return math.isqrt(places) * patch * int(2 ** (levels - 1))


def _levels(on_disk: OnDisk) -> int:
    """Of its decoder, each of which doubles the sides but the last; 0 if it does not tell."""
    decoder = on_disk.read_json("vae/config.json")
    names = ("block_out_channels", "encoder_block_out_channels")
    return next((len(decoder[name]) for name in names if decoder.get(name)), 0)


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) else None


FAMILIES.register(ImageDiffusion.name, ImageDiffusion())
