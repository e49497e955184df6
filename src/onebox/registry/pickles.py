"""Which pickled weights of a checkpoint are to become safetensors, and under which names. Pure."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from onebox.registry import layout

UNCONVERTED = (
    "a pickle: it is converted to safetensors on first use, and its tasks are known from then on"
)
REFUSED = (
    "a pickle, and ONEBOX_PICKLE=refuse: `onebox convert` makes safetensors of it by hand, or set "
    "ONEBOX_PICKLE=convert"
)
# What transformers and diffusers call their pickled weights: with a variant, and in shards.
_LIBRARY_NAME = re.compile(
    r"(?P<diffusion>diffusion_)?pytorch_model(?P<variant>\.[a-z0-9_]+)?"
    r"(?P<shard>-\d{5}-of-\d{5})?\.bin"
)
_INDEX_NAME = re.compile(
    r"(?P<diffusion>diffusion_)?pytorch_model(\.[a-z0-9_]+)?\.bin\.index(\.[a-z0-9_]+)?\.json"
)
_INDEX = ".safetensors.index.json"


def targets(files: Collection[str], *, is_folder: bool) -> dict[str, str]:
    """Path of a pickle → path of its safetensors file; empty when nothing is to be converted.

    A single file is converted whatever it is called. In a folder it is what the libraries would
    load, of variants the plain one first, and only where there are no safetensors in its place.
    """
    if not is_folder:
        return {
            name: posixpath.splitext(name)[0] + ".safetensors"
            for name in files
            if layout.extension(name) in layout.PICKLES
        }
    groups: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for path in sorted(files):
        folder, name = posixpath.split(path)
        match = _LIBRARY_NAME.fullmatch(name)
        if match is not None:
            stem = posixpath.join(folder, "diffusion_pytorch_model" if match[1] else "model")
            groups[stem, match["variant"] or ""][path] = f"{stem}{match['shard'] or ''}.safetensors"
    chosen: dict[str, str] = {}
    done: set[str] = set()
    for (stem, _), renamed in sorted(groups.items()):
        if stem not in done and not _is_there(stem, files):
            chosen |= renamed
            done.add(stem)
    return chosen


def is_index(path: str) -> bool:
    """Whether it lists the shards of pickled weights."""
    return _INDEX_NAME.fullmatch(posixpath.basename(path)) is not None


def is_replaced(path: str, files: Collection[str]) -> bool:
    """Whether it lists shards of pickled weights in whose place there are safetensors."""
    folder, name = posixpath.split(path)
    match = _INDEX_NAME.fullmatch(name)
    if match is None:
        return False
    stem = "diffusion_pytorch_model" if match["diffusion"] else "model"
    return _is_there(posixpath.join(folder, stem), files)


def index_for(target: str) -> str | None:
    """The index that the safetensors shard belongs to; None for weights in one file."""
    stem = re.sub(r"-\d{5}-of-\d{5}\.safetensors$", "", target)
    return None if stem == target else stem + _INDEX


def renamed_index(index: Mapping[str, Any], folder: str, renamed: Mapping[str, str]) -> Any:
    """The index with its shards under their new names; None when it is not of these."""
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict):
        return None
    new = {
        tensor: renamed.get(posixpath.join(folder, str(shard)))
        for tensor, shard in weight_map.items()
    }
    if not new or None in new.values():
        return None
    names = {tensor: posixpath.basename(path) for tensor, path in new.items() if path is not None}
    return {**index, "weight_map": names}


def kept(files: Iterable[str]) -> list[str]:
    """What a converted folder takes over as it is."""
    return [
        path
        for path in sorted(files)
        if layout.extension(path) not in layout.PICKLES and not is_index(path)
    ]


def _is_there(stem: str, files: Collection[str]) -> bool:
    """Whether the libraries would find safetensors under that name."""
    return f"{stem}.safetensors" in files or f"{stem}{_INDEX}" in files
