"""Segmenter of U²-Net: the object that a picture shows, and nothing about what it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onebox.imaging.segmentation.contracts import Segmenter
from onebox.imaging.segmentation.u2net import U2Net

# What it was trained on: pictures of this many pixels a side, and ImageNet's colours.
SIDE = 320
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


class SalientSegmenter(Segmenter):
    """Sees a picture as the authors' test script shows it to the model."""

    stretches = True

    def __init__(self, net: U2Net, device: str, dtype: Any) -> None:
        self._net = net
        self._device, self._dtype = device, dtype
        self.size_bytes = net.size_bytes

    def see(self, picture: Any, labels: Sequence[int]) -> Any:
        import torch

        with torch.inference_mode():
            pixels = torch.from_numpy(as_pixels(picture)).to(self._device, self._dtype)
            return self._net(pixels[None])[0].float().cpu().numpy()

    def close(self) -> None:
        del self._net


def as_pixels(picture: Any) -> Any:
    """The model's input [3, SIDE, SIDE] of an RGB picture; its brightest value counts as white."""
    import numpy as np
    from PIL import Image

    small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    values: Any = np.asarray(small, np.float32)
    values = values / max(values.max(), np.float32(1e-6))
    values = (values - np.array(MEAN, np.float32)) / np.array(DEVIATION, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1))


def load_u2net(weights: Path, device: str, dtype: Any) -> SalientSegmenter:
    """Of a safetensors file with the authors' names."""
    from safetensors.torch import load_file

    # Copies: what is read is a view of the file, which its owner may overwrite.
    tensors = {name: tensor.clone() for name, tensor in load_file(weights).items()}
    net = U2Net(tensors, device, dtype)
    return SalientSegmenter(net, device, dtype)
