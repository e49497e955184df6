"""A LoRA file read into memory: what it adds to each layer it names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onebox.imaging.diffusion.companion_files import owned
from onebox.imaging.diffusion.lora_keys import DENOISER, LayerName, read_names

# Where the pipelines' own `save_lora_weights` writes strengths.
_METADATA = "lora_adapter_metadata"
_DENOISERS = ("unet.", "transformer.", "")


@dataclass(frozen=True, slots=True)
class Difference:
    """What is added to one layer: `parts` as the file has them, and what they are multiplied by."""

    name: LayerName
    parts: Mapping[str, Any]
    scale: float


def read_lora(path: str) -> list[Difference]:
    """Every layer of the file, on the CPU and in the file's dtype."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        names = read_names(file.keys())
        strengths = _Strengths((file.metadata() or {}).get(_METADATA))
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


class _Strengths:
    """What the metadata of a file says of alphas: JSON with a component before each key."""

    def __init__(self, text: str | None) -> None:
        try:
            values = json.loads(text or "{}")
        except (ValueError, RecursionError):
            values = {}
        self._values: dict[str, Any] = values if isinstance(values, dict) else {}

    def alpha(self, name: LayerName) -> float | None:
        patterns = self._value(name, "alpha_pattern")
        for layer, alpha in (patterns if isinstance(patterns, dict) else {}).items():
            own = layer.replace(".", "_").removeprefix("text_model_")
            if f"_{name.layer}".endswith(f"_{own}") and _is_number(alpha):
                return float(alpha)
        alpha = self._value(name, "lora_alpha")
        return float(alpha) if _is_number(alpha) else None

    def rooted(self, name: LayerName) -> bool:
        return self._value(name, "use_rslora") is True

    def _value(self, name: LayerName, key: str) -> Any:
        prefixes = _DENOISERS if name.component == DENOISER else (f"{name.component}.",)
        return next((self._values[p + key] for p in prefixes if p + key in self._values), None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)
