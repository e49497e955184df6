"""A LoRA file read into memory: what it adds to each layer it names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onebox.core.errors import InvalidInput
from onebox.core.on_disk import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from onebox.imaging.diffusion.companion_files import owned
from onebox.imaging.diffusion.lora_config import Strengths
from onebox.imaging.diffusion.lora_keys import LayerName, read_names

# Where the pipelines' own `save_lora_weights` writes strengths.
_METADATA = "lora_adapter_metadata"
# Beyond it nothing is read: a configuration has a few kilobytes.
MAX_CONFIG_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Difference:
    """What is added to one layer: `parts` as the file has them, and what they are multiplied by."""

    name: LayerName
    parts: Mapping[str, Any]
    scale: float


def read_lora(path: str) -> list[Difference]:
    """Every layer of a file, or of a folder of PEFT's, on the CPU and in the file's dtype.

    Raises InvalidInput for metadata that nobody writes, OSError and KeyError for what has gone.
    """
    from safetensors import safe_open

    place = Path(path)
    folder = place if place.is_dir() else None
    with safe_open(place if folder is None else folder / ADAPTER_WEIGHTS, framework="pt") as file:
        names = read_names(file.keys())
        strengths = _said_in(file.metadata()) if folder is None else _said_beside(folder)
        layers = []
        for name, parts in names.layers.items():
            tensors = {part: owned(file.get_tensor(key)) for part, key in parts.items()}
            alpha = tensors.pop("alpha", None)
            own = strengths.alpha(name) if alpha is None else float(alpha)
            layers.append(Difference(name, tensors, _scale(tensors, own, strengths.rooted(name))))
        return layers


def _scale(parts: Mapping[str, Any], alpha: float | None, rooted: bool) -> float:
    """alpha / rank, where there is a rank; without alpha the difference is taken as it is."""
    rank = next(
        (
            len(parts[part])
            for part in ("down", "hada_w1_b", "lokr_w2_b", "lokr_w1_b")
            if part in parts
        ),
        None,
    )
    if alpha is None or not rank:
        return 1.0
    return alpha / (math.sqrt(rank) if rooted else rank)


def _said_in(metadata: Mapping[str, str] | None) -> Strengths:
    """By the metadata of a file: JSON."""
    text = (metadata or {}).get(_METADATA) or "{}"
    if len(text) > MAX_CONFIG_BYTES:
        raise InvalidInput(
            f"its metadata take {len(text)} characters to say how strong it is, and at most "
            f"{MAX_CONFIG_BYTES} are read; save it again",
            param="loras",
        )
    return Strengths(_object_in(text) or {})


def _said_beside(folder: Path) -> Strengths:
    """By the configuration that lies beside the weights, which was judged when it was listed."""
    with (folder / ADAPTER_CONFIG).open("rb") as file:
        text = file.read(MAX_CONFIG_BYTES)
    values = _object_in(text)
    if values is None:
        raise OSError(f"{ADAPTER_CONFIG} is not what it was")
    return Strengths(values, bare=True)


def _object_in(text: str | bytes) -> dict[str, Any] | None:
    """Of JSON; None for anything else."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
