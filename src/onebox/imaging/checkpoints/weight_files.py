"""Which weights of a diffusers folder are loaded, where it has them more than once.

Many published folders have them in float32 and, as `model.fp16.safetensors`, in half precision, or
only so: what stands between the name and the extension is what diffusers calls the variant.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from onebox.core.errors import ModelBroken

SUFFIX = ".safetensors"
_SHARD = re.compile(r"-\d{5}-of-\d{5}")
# Where several would do.
_PREFERRED = "fp16"


def files_in(folder: str | Path) -> list[str]:
    """The weights of a folder's components, as paths relative to it."""
    found = Path(folder).glob(f"*/*{SUFFIX}")
    return [path.relative_to(folder).as_posix() for path in found]


def weights_of(files: Iterable[str], components: Collection[str]) -> dict[str, list[str]]:
    """Component → its weights that are loaded. `files`: paths relative to the folder.

    Raises ModelBroken where no one variant has all components.
    """
    found = _by_variant(files, components)
    variant = _chosen(found)
    return {name: given.get(variant) or given[""] for name, given in found.items()}


def variant_of(files: Iterable[str], components: Collection[str]) -> str | None:
    """What diffusers is told to load; None for the plain files. Raises as `weights_of`."""
    return _chosen(_by_variant(files, components)) or None


def _by_variant(
    files: Iterable[str], components: Collection[str]
) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for file in files:
        component, _, name = file.partition("/")
        if component in components and name.endswith(SUFFIX) and "/" not in name:
            _, _, variant = _SHARD.sub("", name.removesuffix(SUFFIX)).partition(".")
            found.setdefault(component, {}).setdefault(variant, []).append(file)
    return found


def _chosen(found: Mapping[str, Mapping[str, list[str]]]) -> str:
    """The plain files where every component has them: they are the most exact."""
    special = {name: given.keys() for name, given in found.items() if "" not in given}
    if not special:
        return ""
    common = set.intersection(*(set(variants) for variants in special.values()))
    if not common:
        told = "; ".join(f"{name}: {', '.join(sorted(has))}" for name, has in special.items())
        raise ModelBroken(f"its components have no variant of their weights in common ({told})")
    return _PREFERRED if _PREFERRED in common else min(common)
