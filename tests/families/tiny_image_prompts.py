"""Tiny random IP-Adapters and image encoders, and what a run with them needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from onebox.core.contracts import Entry, Family
from onebox.families.image_encoder import ImageEncoder
from onebox.families.ip_adapter import IpAdapter
from onebox.registry.on_disk import open_on_disk

PROJECTION, HIDDEN, SIDE = 24, 32, 32
# Of the tiny Stable Diffusion: what its attention looks at, and its layers of it.
CROSS, WIDTH, LAYERS = 32, 16, 4


def image_encoder(folder: Path, projection: int = PROJECTION) -> Path:
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(3)
    config = CLIPVisionConfig(
        hidden_size=HIDDEN,
        intermediate_size=37,
        projection_dim=projection,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=16,
    )
    CLIPVisionModelWithProjection(config).save_pretrained(folder)
    return folder


def ip_adapter(path: Path, *, plus: bool = False, layers: int = LAYERS, cross: int = CROSS) -> Path:
    """With weights large enough that what it does is seen."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(4)
    tensors = _resampler(cross) if plus else _projection(cross)
    tensors = {f"image_proj.{name}": tensor for name, tensor in tensors.items()}
    for number in range(layers):
        for part in ("to_k_ip", "to_v_ip"):
            key = f"ip_adapter.{2 * number + 1}.{part}.weight"
            tensors[key] = torch.randn(WIDTH, cross) / 4
    save_file(tensors, path)
    return path


def _projection(cross: int) -> dict[str, Any]:
    import torch

    return {
        "proj.weight": torch.randn(4 * cross, PROJECTION),
        "proj.bias": torch.zeros(4 * cross),
        "norm.weight": torch.ones(cross),
        "norm.bias": torch.zeros(cross),
    }


def _resampler(cross: int) -> dict[str, Any]:
    """In the names of the originals, with four layers as those have."""
    import torch

    width = 64
    tensors = {
        "latents": torch.randn(1, 4, width),
        "proj_in.weight": torch.randn(width, HIDDEN),
        "proj_in.bias": torch.zeros(width),
        "proj_out.weight": torch.randn(cross, width),
        "proj_out.bias": torch.zeros(cross),
        "norm_out.weight": torch.ones(cross),
        "norm_out.bias": torch.zeros(cross),
    }
    for layer in (f"layers.{number}" for number in range(4)):
        for norm in ("0.norm1", "0.norm2", "1.0"):
            tensors[f"{layer}.{norm}.weight"] = torch.ones(width)
            tensors[f"{layer}.{norm}.bias"] = torch.zeros(width)
        tensors[f"{layer}.0.to_q.weight"] = torch.randn(width, width) / 8
        tensors[f"{layer}.0.to_kv.weight"] = torch.randn(2 * width, width) / 8
        tensors[f"{layer}.0.to_out.weight"] = torch.randn(width, width) / 8
        tensors[f"{layer}.1.1.weight"] = torch.randn(4 * width, width) / 8
        tensors[f"{layer}.1.3.weight"] = torch.randn(width, 4 * width) / 16
    return tensors


def companion(family: Family, path: Path) -> Entry:
    match = family.matches(open_on_disk(path))
    assert match is not None
    return Entry(
        key=path.name,
        name=path.stem,
        path=str(path),
        extension=path.suffix,
        size_bytes=1,
        status="ready",
        family=family.name,
        kind=match.kind,
        facts=dict(match.facts),
    )


def companions(adapter: Path, encoder: Path) -> dict[str, Entry]:
    return {
        "ip_adapter": companion(IpAdapter(), adapter),
        "image_encoder": companion(ImageEncoder(), encoder),
    }


def picture(seed: int, size: tuple[int, int] = (40, 64)) -> Image.Image:
    shape = (size[1], size[0], 3)
    return Image.fromarray(
        np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8), "RGB"
    )
