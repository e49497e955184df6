"""Family `image_checkpoint`: single files in the layout of a model's first authors.

SD 1.x, 2.x, XL with its refiner, 3 and 3.5, FLUX. Also `image_part`: files of one component that
such a checkpoint may need. What a file is, its tensors tell; configurations come with the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onebox.core.contracts import Bundle, Device, Entry, Family
from onebox.core.errors import ModelBroken, TaskNotSupported
from onebox.core.on_disk import Match, OnDisk, TensorInfo
from onebox.core.plugins import FAMILIES
from onebox.core.weight_sizes import bytes_as
from onebox.families.image_diffusion import ImageDiffusion, Shape, match_of
from onebox.imaging.checkpoints import configs
from onebox.imaging.checkpoints.keys import (
    Layout,
    Shapes,
    layout_of,
    names_under,
    part_of,
    under,
)
from onebox.imaging.checkpoints.stamps import stamp_of, stamps_of_file
from onebox.imaging.checkpoints.told import predicts_velocity, told
from onebox.imaging.diffusion.abilities import SD2_TEXT_WIDTH
from onebox.imaging.diffusion.bundles import ready
from onebox.imaging.diffusion.memory_plan import plan_for, weights_bytes

SUFFIX = ".safetensors"
CONFIG = "config"
# A text encoder's weights lie in a few hundred tensors.
TENSORS = 100


class ImageCheckpoint(ImageDiffusion):
    name = "image_checkpoint"

    def matches(self, on_disk: OnDisk) -> Match | None:
        shapes = _shapes(on_disk)
        layout = None if shapes is None else layout_of(shapes)
        if shapes is None or layout is None:
            return None
        stamps = stamps_of_file(layout, shapes)
        tree = configs.tree_of(layout, stamps)
        metadata = on_disk.metadata(on_disk.path.name)
        if tree is not None and not layout.variant:
            tree = told(tree, metadata, on_disk.name) or tree
        match = _match(layout, tree)
        expected = configs.stamps_of_tree(tree)
        facts = {
            **match.facts,
            "parts": stamps,
            "missing": {part: expected.get(part) for part in layout.missing},
            **({} if tree is None else {"tree": tree}),
            **({} if tree is None else {"variants": _variants(layout, tree)}),
            **({"velocity": True} if _says_velocity(layout, metadata) else {}),
        }
        return Match(match.kind, facts, match.tasks)

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        shapes = _shapes(on_disk) or {}
        layout = layout_of(shapes)
        if layout is None:
            raise ModelBroken("the file is no image checkpoint any more; copy it again")
        tensors = on_disk.tensors(on_disk.path.name)
        parts = {
            part: [tensors[name] for name in names_under(layout, part, tensors)]
            for part in layout.parts
        }
        expected = configs.stamps_of_tree(configs.tree_of(layout, stamps_of_file(layout, shapes)))
        lacking = {part: _as_usual(expected.get(part)) for part in layout.missing}
        return weights_bytes({**parts, **lacking}, on_disk.overrides, device)

    def load(self, entry: Entry, device: Device) -> Bundle:
        import torch

        from onebox.imaging.checkpoints.assembly import Plan, load_pipeline

        tree = entry.components.get(CONFIG) or entry.facts.get("tree")
        if tree is None or entry.kind is None:
            raise ModelBroken("its denoiser has an unusual shape, and no folder of it was found")
        wanted = plan_for(entry.overrides, {}, device).quantization
        if wanted is not None:
            raise ModelBroken(
                f'quantization "{wanted}" is for diffusers folders; take "fp8", or the folder of '
                "the model"
            )
        plan = Plan(
            file=Path(entry.path),
            tree=configs.place_of(tree),
            class_name=entry.kind,
            components=entry.components,
            dtype=getattr(torch, entry.overrides.get("dtype", device.dtype)),
            vae_dtype=getattr(torch, entry.overrides.get("dtype", device.vae_dtype)),
            velocity=entry.facts.get("velocity", False) and not _is_told_configuration(entry),
        )
        return ready(load_pipeline(plan), entry, device)


class CheckpointPart(Family):
    """Never asked for by itself: a checkpoint of the family above takes it as a component."""

    name = "image_part"

    def matches(self, on_disk: OnDisk) -> Match | None:
        shapes = _shapes(on_disk)
        part = None if shapes is None else part_of(shapes)
        if shapes is None or part is None:
            return None
        component = "vae" if part.name == "vae" else "text_encoder"
        return Match(part.name, {"stamp": stamp_of(component, under(shapes, part.prefix))})

    def estimate(self, on_disk: OnDisk, device: Device) -> int:
        return bytes_as(on_disk.tensors(on_disk.path.name).values(), device.dtype)

    def load(self, entry: Entry, device: Device) -> Bundle:
        raise TaskNotSupported(
            f"{entry.name} is a part of image checkpoints and runs with one of them", param="model"
        )


def _shapes(on_disk: OnDisk) -> Shapes | None:
    """Name → shape of each tensor of a single file; None for anything else."""
    name = on_disk.path.name
    if on_disk.is_folder or not name.lower().endswith(SUFFIX):
        return None
    return {tensor: info.shape for tensor, info in on_disk.tensors(name).items()}


def _shape(layout: Layout, tree: str | None) -> Shape:
    return Shape(
        in_channels=layout.in_channels,
        text_width=SD2_TEXT_WIDTH if layout.base == "sd2" else None,
        native_size=None if tree is None else configs.native_size(tree),
        is_refiner=layout.base == "sdxl-refiner",
    )


def _match(layout: Layout, tree: str | None) -> Match:
    usual = configs.PIPELINES[layout.base, layout.variant]
    pipeline = usual if layout.variant else configs.KIN_PIPELINES.get(tree or "", usual)
    return match_of(pipeline, _shape(layout, tree))


def _variants(layout: Layout, tree: str) -> dict[str, Any]:
    """What its owner may say it is, by name: other kinds that no shape tells apart from it."""
    found = {}
    base = configs.KIN.get(tree, tree)
    kinds = (base, *(name for name, like in configs.KIN.items() if like == base))
    for name in kinds if not layout.variant else ():
        if name != tree:
            match = _match(layout, name)
            tasks = None if match.tasks is None else sorted(match.tasks)
            facts = {**match.facts, "tree": name}
            found[name] = {"kind": match.kind, "facts": facts, "tasks": tasks}
    return found


def _says_velocity(layout: Layout, metadata: Mapping[str, str]) -> bool:
    """Which of the two a Stable Diffusion 2 predicts, its tree says."""
    return layout.base in ("sd1", "sdxl") and predicts_velocity(metadata) is True


def _is_told_configuration(entry: Entry) -> bool:
    """Whether its owner, or a folder of its own shape, says how it was trained."""
    return CONFIG in entry.components or CONFIG in entry.overrides.get("components", {})


def _as_usual(stamp: str | None) -> list[TensorInfo]:
    """Tensors of about the size of those of a component that comes from elsewhere."""
    values = configs.VALUES.get(stamp or "", 0) // TENSORS
    return [TensorInfo(dtype="F16", shape=(values,), size_bytes=2 * values)] * TENSORS


FAMILIES.register(ImageCheckpoint.name, ImageCheckpoint())
FAMILIES.register(CheckpointPart.name, CheckpointPart())
