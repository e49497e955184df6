"""Small stand-ins for a model's decoder (TAESD and its kin), for sharper previews.

They come as diffusers folders, and as single files of their author's own layout.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onebox.core.on_disk import TensorInfo

CLASS_NAME = "AutoencoderTiny"
CONFIG = "config.json"
# The author's file: layers by number, of which the first holds no weights.
FIRST, LAST = "1.weight", "19.weight"
PREFIXES = ("", "decoder.", "taesd_decoder.")
# In diffusers' layout.
LIBRARY_FIRST, LIBRARY_LAST = "decoder.layers.0.weight", "decoder.layers.18.weight"
# Whose latents they read cannot be told from their weights, but from what they are called.
CALLED: tuple[tuple[str, str, int], ...] = (
    (r"taesd[-_]?xl", "sdxl", 4),
    (r"taesd[-_]?3", "sd3", 16),
    (r"taef[-_]?1", "flux", 16),
    (r"taesd", "sd1", 4),
)


def latent_channels(tensors: Mapping[str, TensorInfo]) -> int | None:
    """Channels of the latents that a file's decoder reads; None if it holds no such decoder."""
    library = tensors.get(LIBRARY_FIRST)
    if library is not None and len(library.shape) == 4 and LIBRARY_LAST in tensors:
        return library.shape[1]
    prefix = _prefix(tensors)
    return None if prefix is None else tensors[prefix + FIRST].shape[1]


def base_of(name: str, channels: int) -> str | None:
    """Which models' latents a decoder of this name reads; None: it does not say."""
    for pattern, base, expected in CALLED:
        if re.search(pattern, name.lower()) and channels == expected:
            return base
    return None


def load_decoder(path: Path, device: Any, dtype: Any) -> Any:
    """A module that makes pictures [n, 3, h, w] between -1 and 1 of a denoiser's latents."""
    from diffusers import AutoencoderTiny
    from safetensors.torch import load_file

    if path.is_dir():
        whole = AutoencoderTiny.from_pretrained(path, local_files_only=True, use_safetensors=True)
        return whole.decoder.to(device, dtype).eval()
    weights = load_file(path)
    if LIBRARY_FIRST in weights:
        layers = _without(weights, "decoder.")
    else:
        prefix = _prefix(weights) or ""
        layers = {_renumbered(n): tensor for n, tensor in _without(weights, prefix).items()}
    decoder = AutoencoderTiny(latent_channels=layers["layers.0.weight"].shape[1]).decoder
    decoder.load_state_dict(layers)
    return decoder.to(device, dtype).eval()


def _prefix(tensors: Mapping[str, Any]) -> str | None:
    for prefix in PREFIXES:
        ends = [tensors.get(prefix + name) for name in (FIRST, LAST)]
        if all(end is not None and len(end.shape) == 4 for end in ends):
            return prefix
    return None


def _without(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def _renumbered(name: str) -> str:
    """`7.weight` of the author's is `layers.6.weight` of the library's."""
    number, _, rest = name.partition(".")
    return f"layers.{int(number) - 1}.{rest}"
