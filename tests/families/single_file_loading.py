"""What tests of single files share: tiny pipelines, and how one file of them is loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from onebox.core.contracts import Entry
from onebox.families.image_checkpoint import ImageCheckpoint
from onebox.registry.on_disk import open_on_disk
from tests.families import tiny_models, tiny_stable_diffusions, tiny_transformers
from tests.families.pictures import device

FAMILY = ImageCheckpoint()
Builder = Callable[[Path], Path]
# The folder of a tiny pipeline by its class.
Folders = Callable[[str], Path]
BUILDERS: dict[str, Builder] = {
    "StableDiffusionPipeline": tiny_models.stable_diffusion,
    "StableDiffusionInpaintPipeline": tiny_stable_diffusions.inpainting,
    "StableDiffusionXLPipeline": tiny_stable_diffusions.xl,
    "StableDiffusionXLImg2ImgPipeline": tiny_stable_diffusions.refiner,
    "StableDiffusion3Pipeline": tiny_transformers.sd3,
    "FluxPipeline": partial(tiny_transformers.flux, guidance=False),
    "FluxFillPipeline": tiny_transformers.flux_fill,
}


def folder_of(name: str, root: Path) -> Path:
    """The folder of a tiny pipeline by its class, built on first use."""
    if not (root / name).is_dir():
        BUILDERS[name](root / name)
        _without_projection(root / name)
    return root / name


def entry(file: Path, **known: Any) -> Entry:
    """As the registry would list it."""
    match = FAMILY.matches(open_on_disk(file))
    assert match is not None
    return Entry(
        key=file.name,
        name=file.stem,
        path=str(file),
        extension=file.suffix,
        size_bytes=file.stat().st_size,
        status="ready",
        family=FAMILY.name,
        kind=match.kind,
        tasks=tuple(sorted(match.tasks or ())),
        facts=dict(match.facts),
        **known,
    )


def load(file: Path, components: dict[str, str], dtype: str = "float32") -> Any:
    bundle = FAMILY.load(entry(file, components=components), device(dtype))
    return bundle.pipeline  # type: ignore[attr-defined]  # a PipelineBundle


def weights(pipeline: Any) -> dict[str, dict[str, Any]]:
    modules = {n: c for n, c in pipeline.components.items() if hasattr(c, "state_dict")}
    return {name: module.state_dict() for name, module in modules.items()}


def assert_same(one: Any, other: Any) -> None:
    mine, theirs = weights(one), weights(other)
    assert mine.keys() == theirs.keys()
    for component, tensors in theirs.items():
        assert_same_tensors(mine[component], tensors)


def assert_same_tensors(mine: dict[str, Any], theirs: dict[str, Any]) -> None:
    import torch

    assert mine.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert torch.equal(mine[name], tensor), name


def picture(pipeline: Any) -> Any:
    import torch

    generator = torch.Generator().manual_seed(1)
    drawn = pipeline("a cat", height=64, width=64, num_inference_steps=2, generator=generator)
    return np.asarray(drawn.images[0])


def _without_projection(folder: Path) -> None:
    """SD3's smaller CLIP has none in original files, which is one that changes nothing."""
    import torch
    from safetensors.torch import load_file, save_file

    file = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(file) if file.is_file() else {}
    if "text_projection.weight" in tensors:
        tensors["text_projection.weight"] = torch.eye(32)
        save_file(tensors, file, metadata={"format": "pt"})
