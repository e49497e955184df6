"""LoRAs and textual inversions, set for one run and taken away after it.

Nothing of the loaded weights is written: layers stand in for others while the run lasts, and the
pipeline without them is the one that was loaded, bit for bit.
"""

from __future__ import annotations

import contextlib
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from onebox.core.contracts import Device, Entry, RunContext
from onebox.core.errors import InvalidInput
from onebox.imaging.diffusion.companion_files import reading, require_numbers
from onebox.imaging.diffusion.inversion_files import read_inversion
from onebox.imaging.diffusion.inversions import Inversion, inverted
from onebox.imaging.diffusion.lora_files import Difference, read_lora
from onebox.imaging.diffusion.lora_layers import Addition, adapted, additions_to
from onebox.imaging.diffusion.lora_magnitudes import Part, has_magnitudes, scaled_additions
from onebox.imaging.diffusion.lora_places import shape_of
from onebox.imaging.diffusion.lora_targets import (
    TEXT_ENCODERS,
    Target,
    Targets,
    targets_of,
)
from onebox.imaging.diffusion.modules import as_loaded, replaced
from onebox.imaging.diffusion.prompt_encoders import create_encoder
from onebox.imaging.diffusion.recipe import Adapter, Recipe

# Component and name of a module → what is added to its output.
Additions = Mapping[tuple[str, str], list[Addition]]


@contextlib.contextmanager
def applied(bundle: Any, recipe: Recipe, context: RunContext) -> Iterator[None]:
    """The bundle's pipeline with the recipe's LoRAs and textual inversions.

    Raises InvalidInput for one that does not fit the pipeline, and leaves nothing behind.
    """
    pipeline = bundle.pipeline
    inversions = _inversions(pipeline, recipe.textual_inversions, context)
    with contextlib.ExitStack() as stack:
        stack.enter_context(as_loaded(pipeline))
        stack.enter_context(inverted(pipeline, inversions))
        for (component, name), added in _additions(pipeline, recipe.loras, context).items():
            owner = getattr(pipeline, component)
            module = owner.get_submodule(name)
            like = _like(module, context.device)
            stack.enter_context(replaced(owner, name, adapted(module, added, like.dtype)))
        yield


def _inversions(pipeline: Any, named: tuple[Adapter, ...], context: RunContext) -> list[Inversion]:
    if named and create_encoder(pipeline) is None:
        raise InvalidInput(
            f"{context.entry.name} does not read by CLIP and takes no textual inversions; leave "
            "them out",
            param="textual_inversions",
        )
    found = []
    for one in named:
        entry = context.companions[one.slot]
        with reading(entry, "textual_inversions"):
            found.append(read_inversion(entry, one.token))
        require_numbers(entry, found[-1].vectors.values(), "textual_inversions")
    return found


def _additions(pipeline: Any, loras: tuple[Adapter, ...], context: RunContext) -> Additions:
    found: dict[tuple[str, str], list[Addition]] = defaultdict(list)
    if not any(lora.scale for lora in loras):
        return found
    targets = targets_of(pipeline)
    for lora in loras:
        context.check()
        entry = context.companions[lora.slot]
        with reading(entry, "loras"):
            differences = read_lora(entry.path)
        _require_numbers(entry, differences)
        alien = []
        for difference in differences:
            # One with magnitudes reads all of the layer's weight.
            context.check()
            if _is_absent(pipeline, difference):
                continue
            added = _added(pipeline, difference, targets, lora.scale, context.device)
            if added is None:
                alien.append(difference.name.layer)
            for target, ones in added or ():
                found[target.component, target.name] += ones
        if alien:
            raise _misfit(entry.name, context.entry.name, alien, len(differences))
    return found


def _require_numbers(entry: Entry, differences: list[Difference]) -> None:
    """Raises InvalidInput for a damaged file, whose values would spoil the picture."""
    for difference in differences:
        require_numbers(entry, difference.parts.values(), "loras")
    if not all(math.isfinite(difference.scale) for difference in differences):
        raise InvalidInput(
            f"{entry.name} says of its own strength (alpha) that it is no number; copy it again",
            param="loras",
            details={"model": entry.name},
        )


def _is_absent(pipeline: Any, difference: Difference) -> bool:
    """Whether the layer is of a text encoder that the pipeline does without."""
    component = difference.name.component
    return component in TEXT_ENCODERS and getattr(pipeline, component, pipeline) is None


def _added(
    pipeline: Any, difference: Difference, targets: Targets, strength: float, device: Device
) -> list[tuple[Target, list[Addition]]] | None:
    """What a layer of the file adds to which modules; None when the pipeline has no such layer."""
    named = targets.get(difference.name, ())
    parts = []
    for target in named:
        module = getattr(pipeline, target.component).get_submodule(target.name)
        shape = shape_of(module)
        if shape is None:
            return None
        parts.append(Part(module, shape, target.place, _like(module, device)))
    additions = _additions_to(difference, parts, strength) if parts else None
    return None if additions is None else list(zip(named, additions, strict=True))


def _additions_to(
    difference: Difference, parts: list[Part], strength: float
) -> list[list[Addition]] | None:
    """For each of the modules that the layer stands for; None where it does not fit them."""
    if has_magnitudes(difference.parts):
        return scaled_additions(difference.parts, parts, difference.scale, strength)
    scale = difference.scale * strength
    found = [additions_to(difference.parts, p.place, scale, p.shape, p.like) for p in parts]
    whole = [one for one in found if one]
    return whole if len(whole) == len(parts) else None


def _like(module: Any, device: Device) -> Any:
    """An empty tensor on the device, in the dtype of the module, or what quantised ones work in."""
    import torch

    dtype = module.weight.dtype
    if not dtype.is_floating_point or dtype.itemsize < 2:
        dtype = getattr(torch, device.dtype)
    return torch.empty(0, dtype=dtype, device=device.torch_device)


def _misfit(lora: str, model: str, alien: list[str], count: int) -> InvalidInput:
    return InvalidInput(
        f"{lora} does not fit {model}: {len(alien)} of its {count} layers, such as "
        f"{alien[0][:100]}, are not in the model or have another shape there",
        param="loras",
        details={"lora": lora, "layers": alien[:5]},
    )
