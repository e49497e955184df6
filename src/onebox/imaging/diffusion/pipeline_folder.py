"""Folders that diffusers' pipelines lie in: what is in one, how large it is, and loading it.

Loaded are classes of two libraries, from safetensors alone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from onebox.core.contracts import Device, Entry
from onebox.core.errors import ModelBroken
from onebox.core.on_disk import OnDisk, TensorInfo
from onebox.core.remote_code import refuse_remote_code
from onebox.imaging.checkpoints.weight_files import files_in, variant_of, weights_of
from onebox.imaging.diffusion.memory_plan import weights_bytes
from onebox.imaging.diffusion.quantization import quantization_arguments

INDEX = "model_index.json"
COMPONENT_LIBRARIES = frozenset({"diffusers", "transformers"})
# Classes that diffusers has beside a pipeline, and a folder names by that pipeline's module. The
# last is never loaded.
BESIDE_PIPELINES = frozenset(
    {
        ("kolors", "ChatGLMModel"),
        ("kolors", "ChatGLMTokenizer"),
        ("stable_diffusion", "StableDiffusionSafetyChecker"),
    }
)


def index_of(
    on_disk: OnDisk, class_names: Collection[str], unused: Collection[str] = ()
) -> dict[str, Any] | None:
    """`model_index.json` of a folder that names one of these classes; None for anything else.

    Components that are left out (`unused`) need not be there. Raises ModelBroken for a folder that
    would run code of its own, or that is not whole.
    """
    if not on_disk.is_folder or INDEX not in on_disk.files:
        return None
    index = on_disk.read_json(INDEX)
    if index.get("_class_name") not in class_names:
        return None
    components = _loaded(index, unused)
    refuse_remote_code(on_disk)
    for component in components:
        _require_safetensors(on_disk, component)
    weights_of(on_disk.files, components)
    return index


def components_of(index: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(component, class name) of `model_index.json`.

    Raises ModelBroken for code that is not a library's.
    """
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list):
            continue
        if len(value) != 2 or value[1] is None:
            continue
        library, class_name = value
        if library not in COMPONENT_LIBRARIES and (library, class_name) not in BESIDE_PIPELINES:
            raise ModelBroken(
                f"model_index.json takes {name} from {library!r}; only components of "
                f"{' and '.join(sorted(COMPONENT_LIBRARIES))} are loaded"
            )
        yield name, str(class_name)


def _require_safetensors(on_disk: OnDisk, component: str) -> None:
    weights = [f for f in on_disk.files if f.startswith(f"{component}/")]
    if not weights:
        raise ModelBroken(f"the folder {component}/ is missing; copy the whole checkpoint")
    pickled = [f for f in weights if f.endswith((".bin", ".pt", ".pth", ".ckpt"))]
    if pickled and not any(f.endswith(".safetensors") for f in weights):
        raise ModelBroken(f"{pickled[0]} is a pickle; convert it to safetensors first")
    for file in weights:
        if file.endswith(".safetensors"):
            on_disk.tensors(file)


def folder_bytes(on_disk: OnDisk, unused: Collection[str], device: Device) -> int:
    """What the weights will take on the device, by their headers, without components left out."""
    loaded = _loaded(on_disk.read_json(INDEX), unused)
    tensors: dict[str, list[TensorInfo]] = {
        component: [info for file in files for info in on_disk.tensors(file).values()]
        for component, files in weights_of(on_disk.files, loaded).items()
    }
    return weights_bytes(tensors, on_disk.overrides, device)


def _loaded(index: Mapping[str, Any], unused: Collection[str]) -> list[str]:
    """Components that are not left out, in the index's order."""
    return [name for name, _ in components_of(index) if name not in unused]


def read_index(folder: str | Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))
    return index


def load_folder(
    folder: str,
    class_name: str,
    entry: Entry,
    device: Device,
    unused: Collection[str],
    **given: Any,
) -> Any:
    """A pipeline of the class, in the dtypes of the entry and the device.

    Args:
        unused: components that are left out, where the folder has them.
        given: components that are loaded already.
    """
    import diffusers
    import torch

    dtype = getattr(torch, entry.overrides.get("dtype", device.dtype))
    vae_dtype = getattr(torch, entry.overrides.get("dtype", device.vae_dtype))
    index = read_index(folder)
    absent = {name: None for name in unused if isinstance(index.get(name), list)}
    return getattr(diffusers, class_name).from_pretrained(
        folder,
        dtype={"default": dtype, "vae": vae_dtype},
        use_safetensors=True,
        variant=variant_of(files_in(folder), _loaded(index, unused)),
        local_files_only=True,
        trust_remote_code=False,
        **quantization_arguments(entry, device, index.keys(), dtype),
        **absent,
        **({"requires_safety_checker": False} if "safety_checker" in absent else {}),
        **given,
    )
