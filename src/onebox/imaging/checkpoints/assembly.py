"""Puts a pipeline together from a weight file, a configuration tree, and what else it needs."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.imaging.checkpoints.keys import OPTIONAL, Layout, Shapes, layout_of, part_of
from onebox.imaging.checkpoints.loading import Part, load_part
from onebox.imaging.checkpoints.vocabularies import shipped_tokenizer
from onebox.imaging.checkpoints.weight_files import files_in, variant_of

INDEX = "model_index.json"
CONFIG = "config.json"
SCHEDULER_NOTES = {
    "v_pred": ("prediction_type", "v_prediction"),
    "ztsnr": ("rescale_betas_zero_snr", True),
}
NEVER_LOADED = frozenset({"safety_checker", "feature_extractor", "image_encoder"})


@dataclass(frozen=True, slots=True)
class Plan:
    """What to make of a file.

    Attributes:
        file: the checkpoint, safetensors.
        tree: folder with `model_index.json` and a configuration for each component.
        class_name: of the pipeline.
        components: component → path of the checkpoint that it is taken from.
        dtype: torch dtype of all but the VAE.
        velocity: the file says that it predicts v, whatever is usual for its kind.
    """

    file: Path
    tree: Path
    class_name: str
    components: Mapping[str, str]
    dtype: Any
    vae_dtype: Any
    velocity: bool = False


def load_pipeline(plan: Plan) -> Any:
    """A diffusers pipeline on the CPU. Raises ModelBroken."""
    import diffusers

    shapes = shapes_of(plan.file)
    layout = layout_of(shapes)
    if layout is None:
        raise ModelBroken("the file is no image checkpoint any more; copy it again")
    index = json.loads((plan.tree / INDEX).read_text(encoding="utf-8"))
    pieces = {
        name: _scheduler(plan, shapes, class_name)
        if name == "scheduler"
        else _piece(plan, layout, name, library, class_name)
        for name, library, class_name in _listed(index)
    }
    pipeline_class = getattr(diffusers, plan.class_name)
    accepted = inspect.signature(pipeline_class.__init__).parameters
    options = {
        name: value
        for name, value in index.items()
        if name in accepted and not isinstance(value, list) and not name.startswith("_")
    }
    unlisted = NEVER_LOADED | {name for name, value in index.items() if value == [None, None]}
    absent = dict.fromkeys(unlisted & set(accepted))
    if "requires_safety_checker" in accepted:
        options["requires_safety_checker"] = False
    return pipeline_class(**{**absent, **options, **pieces})


def shapes_of(file: Path) -> Shapes:
    """Name → shape of every tensor, from the header alone."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as opened:
        names = opened.keys()
        return {name: tuple(opened.get_slice(name).get_shape()) for name in names}


def _listed(index: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for name, value in index.items():
        if isinstance(value, list) and name not in NEVER_LOADED and value[1] is not None:
            yield name, str(value[0]), str(value[1])


def _piece(plan: Plan, layout: Layout, name: str, library: str, class_name: str) -> Any:
    dtype = plan.vae_dtype if name == "vae" else plan.dtype
    elsewhere = plan.components.get(name)
    if elsewhere is not None:
        return _from_elsewhere(Path(elsewhere), plan, layout.base, name, (library, class_name))
    if name in layout.parts:
        part = Part(
            file=plan.file,
            prefix=layout.parts[name],
            others=tuple(layout.parts.values()),
            config=plan.tree / name,
            class_name=class_name,
            overrides=_overrides(layout, name),
            left_out=_left_out(layout.base, name),
        )
        return load_part(part, dtype)
    if name.startswith("tokenizer"):
        return _tokenizer(plan, layout.base, name, class_name)
    if (layout.base, name) in OPTIONAL:
        return None
    raise ModelBroken(f"the file has no {name}, and none was found for it")


def _scheduler(plan: Plan, shapes: Shapes, class_name: str) -> Any:
    """Of the tree, with what trainers say in metadata and by tensors of no use otherwise."""
    notes = {"v_pred", *shapes} if plan.velocity else shapes
    said = {name: value for note, (name, value) in SCHEDULER_NOTES.items() if note in notes}
    return _class("diffusers", class_name).from_pretrained(
        plan.tree, subfolder="scheduler", local_files_only=True, **said
    )


def _overrides(layout: Layout, name: str) -> dict[str, Any]:
    return {"in_channels": layout.in_channels} if name == layout.denoiser else {}


def _left_out(base: str, name: str) -> tuple[str, ...]:
    """SD3 takes what the smaller CLIP says before its projection, which some files have."""
    return ("text_projection.weight",) if (base, name) == ("sd3", "text_encoder") else ()


def _from_elsewhere(path: Path, plan: Plan, base: str, name: str, kind: tuple[str, str]) -> Any:
    """From a diffusers folder, another single file, or a file of that component alone."""
    dtype = plan.vae_dtype if name == "vae" else plan.dtype
    if path.is_dir():
        folder = path / name if (path / INDEX).is_file() else path
        own: dict[str, Any] = {}
        if not name.startswith("tokenizer"):
            variant = variant_of(files_in(folder.parent), {folder.name})
            own = {"dtype": dtype, "use_safetensors": True, "variant": variant}
        return _class(*kind).from_pretrained(folder, local_files_only=True, **own)
    shapes = shapes_of(path)
    layout = layout_of(shapes)
    if layout is not None and name in layout.parts:
        prefix, others = layout.parts[name], tuple(layout.parts.values())
    elif (alone := part_of(shapes)) is not None:
        prefix, others = alone.prefix, ()
    else:
        raise ModelBroken(f"{path.name} has no {name} to take")
    part = Part(
        file=path,
        prefix=prefix,
        others=others,
        config=plan.tree / name,
        class_name=kind[1],
        left_out=_left_out(base, name),
    )
    try:
        return load_part(part, dtype)
    except ModelBroken as error:
        raise ModelBroken(f"{path.name}, of which it takes its {name}: {error.message}") from None


def _tokenizer(plan: Plan, base: str, name: str, class_name: str) -> Any:
    """Of the tree, or one of the vocabularies that every checkpoint of its kind has."""
    folder = plan.tree / name
    if folder.is_dir():
        return _class("transformers", class_name).from_pretrained(folder, local_files_only=True)
    return shipped_tokenizer(base, name, class_name)


def _class(library: str, class_name: str) -> Any:
    """Only of the two libraries; a tree was judged before."""
    import diffusers
    import transformers

    return getattr({"diffusers": diffusers, "transformers": transformers}[library], class_name)
