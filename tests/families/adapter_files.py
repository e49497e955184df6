"""LoRAs and textual inversions for tiny pipelines: what trainers write, and the same by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from onebox.core.contracts import Entry
from onebox.families.lora import Lora
from onebox.families.textual_inversion import TextualInversion
from onebox.imaging.diffusion.bundles import PipelineBundle
from onebox.registry.on_disk import open_on_disk
from tests.families.pictures import TASK, Context, assert_alike, draw, resolve
from tests.families.tiny_pipelines import Shelf

RANK = 4


@dataclass(frozen=True)
class Layer:
    """One layer of a pipeline and the two matrices that a LoRA has for it."""

    component: str
    name: str
    down: Any
    up: Any

    @property
    def text_name(self) -> str:
        """As it is called in the text encoders of older libraries, for which trainers write."""
        return f"text_model.{self.name.removeprefix('text_model.')}"


def layers(pipeline: Any, component: str, wanted: Callable[[str], bool]) -> Iterator[Layer]:
    """Random matrices for the linear and convolution layers of such names."""
    import torch

    draw = torch.Generator().manual_seed(11)
    for name, module in getattr(pipeline, component).named_modules():
        kinds = (torch.nn.Linear, torch.nn.Conv2d)
        if not isinstance(module, kinds) or not wanted(name):
            continue
        outputs, inputs, *kernel = module.weight.shape
        down = torch.randn(RANK, inputs, *kernel, generator=draw) * 0.2
        up = torch.randn(outputs, RANK, *(1 for _ in kernel), generator=draw) * 0.2
        yield Layer(component, name, down, up)


def attention(name: str) -> bool:
    return "attn" in name or ".ff." in name or "proj_" in name


def kohya(layer: Layer, alpha: float | None = None) -> dict[str, Any]:
    import torch

    prefixes = {"text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}
    name = layer.text_name if layer.component in prefixes else layer.name
    key = f"{prefixes.get(layer.component, 'lora_unet')}_{name.replace('.', '_')}"
    strength = {} if alpha is None else {f"{key}.alpha": torch.tensor(alpha)}
    return {f"{key}.lora_down.weight": layer.down, f"{key}.lora_up.weight": layer.up, **strength}


def peft(layer: Layer) -> dict[str, Any]:
    name = layer.text_name if layer.component.startswith("text") else layer.name
    key = f"{layer.component}.{name}"
    return {f"{key}.lora_A.weight": layer.down, f"{key}.lora_B.weight": layer.up}


def merged(pipeline: Any, differences: Mapping[tuple[str, str], Any]) -> None:
    """Add [out, in, …] to weights for good: what a LoRA ought to come to."""
    for (component, name), difference in differences.items():
        weight = getattr(pipeline, component).get_submodule(name).weight
        weight.data += difference.reshape(weight.shape)


def product(layer: Layer) -> Any:
    """up · down, with the kernel of down."""
    return (layer.up.flatten(1) @ layer.down.flatten(1)).reshape(
        len(layer.up), *layer.down.shape[1:]
    )


def save(path: Path, tensors: Mapping[str, Any], metadata: Mapping[str, str] | None = None) -> Path:
    from safetensors.torch import save_file

    whole = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(whole, path, dict(metadata or {}))
    return path


def entry_of(path: Path) -> Entry:
    """The file as the registry would know it."""
    on_disk = open_on_disk(path)
    family = next(f for f in (Lora(), TextualInversion()) if f.matches(on_disk) is not None)
    match = family.matches(on_disk)
    assert match is not None
    return Entry(
        key=path.name,
        name=path.name,
        path=str(path),
        extension=".safetensors",
        size_bytes=1,
        status="ready",
        family=family.name,
        kind=match.kind,
        facts=dict(match.facts),
    )


class ContextWith(Context):
    """A context that has these files as companions, each by its name as a slot."""

    def __init__(self, folder: Path, *files: Path, **options: Any) -> None:
        super().__init__(folder, **options)
        kinds = {path.name: entry_of(path) for path in files}
        self.companions = {f"{found.family}:{name}": found for name, found in kinds.items()}


def assert_as_if_merged(
    shelf: Shelf, kind: str, tensors: dict[str, Any] | Path, differences: Any, folder: Path
) -> None:
    """A LoRA draws on a pipeline what the differences do in its weights, and leaves nothing."""
    bundle, place = shelf.bundle(kind), shelf.path(kind)
    small = {"seed": 5, "width": 64, "height": 64}
    lora = tensors if isinstance(tensors, Path) else save(folder / "a.safetensors", tensors)
    asked = resolve(place, **small, loras=[{"model": lora.name}])
    (output,) = TASK.run(bundle, asked, ContextWith(place, lora))
    drawn, (before,) = np.asarray(output.value), draw(bundle, place, **small)
    changed = PipelineBundle(copy.deepcopy(bundle.pipeline), 1)
    merged(changed.pipeline, differences)
    assert_alike(drawn, draw(changed, place, **small)[0])
    assert not np.array_equal(drawn, before)
    assert np.array_equal(draw(bundle, place, **small)[0], before)
