"""U²-Net: finds the object that a picture shows. Of any width, so U²-Net-p is one of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onebox.core.cancel import check_now
from onebox.imaging.segmentation.u2net_names import FLAT, SIDES, STAGES, convolutions, heads

# The batch norms of its authors' files, which are made part of the convolutions.
EPS = 1e-5


class U2Net:
    """Owns the weights; batch norms are folded into them.

    Args:
        tensors: as the authors name them, with batch norms or with those folded in already.
    """

    def __init__(self, tensors: Mapping[str, Any], device: str, dtype: Any) -> None:
        folded = {name: _folded(tensors, name) for name in (*convolutions(), *heads())}
        self._weights = {
            name: tuple(tensor.to(device, dtype) for tensor in pair)
            for name, pair in folded.items()
        }
        self.size_bytes = sum(
            tensor.numel() * tensor.element_size()
            for pair in self._weights.values()
            for tensor in pair
        )

    def __call__(self, pixels: Any) -> Any:
        """How likely each pixel is the object's: [pictures, height, width], from 0 to 1.

        Args:
            pixels: [pictures, 3, height, width], normalised.
        """
        import torch

        seen: list[Any] = []
        x = pixels
        for number in range(1, SIDES + 1):
            x = self._stage(f"stage{number}", _pooled(x) if seen else x)
            seen.append(x)
        said = [seen[-1]]
        for number in range(SIDES - 1, 0, -1):
            skip = seen[number - 1]
            x = self._stage(f"stage{number}d", torch.cat((_resized(x, skip), skip), 1))
            said.insert(0, x)
        sides: list[Any] = []
        for number, at in enumerate(said, start=1):
            side = self._convolved(f"side{number}", at)
            sides.append(_resized(side, sides[0]) if sides else side)
        return torch.sigmoid(self._convolved("outconv", torch.cat(sides, 1)))[:, 0]

    def _stage(self, stage: str, x: Any) -> Any:
        """A small U of convolutions, and what went into it added to what comes out."""
        import torch

        check_now()
        levels, flat = STAGES[stage], stage in FLAT
        entered = x = self._unit(stage, "rebnconvin", x)
        seen: list[Any] = []
        for level in range(1, levels + 1):
            if not flat and 1 < level < levels:
                x = _pooled(x)
            # The lowest level of a pooled U looks twice as far in place of one more pooling.
            dilation = 2 ** (level - 1) if flat else 1 + (level == levels)
            x = self._unit(stage, f"rebnconv{level}", x, dilation)
            seen.append(x)
        for level in range(levels - 1, 0, -1):
            skip = seen[level - 1]
            dilation = 2 ** (level - 1) if flat else 1
            x = torch.cat((_resized(x, skip), skip), 1)
            x = self._unit(stage, f"rebnconv{level}d", x, dilation)
        return x + entered

    def _unit(self, stage: str, unit: str, x: Any, dilation: int = 1) -> Any:
        return self._convolved(f"{stage}.{unit}.conv_s1", x, dilation).relu_()

    def _convolved(self, name: str, x: Any, dilation: int = 1) -> Any:
        """Of the same size as before, whatever the kernel's."""
        import torch.nn.functional as functional

        weight, bias = self._weights[name]
        padding = weight.shape[-1] // 2 * dilation
        return functional.conv2d(x, weight, bias, padding=padding, dilation=dilation)


def _folded(tensors: Mapping[str, Any], name: str) -> tuple[Any, Any]:
    weight, bias = tensors[f"{name}.weight"].float(), tensors[f"{name}.bias"].float()
    norm = name.replace("conv_s1", "bn_s1")
    if norm == name or f"{norm}.running_var" not in tensors:
        return weight, bias
    gain, shift, mean, variance = (
        tensors[f"{norm}.{part}"].float()
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = gain / (variance + EPS).sqrt()
    return weight * scale[:, None, None, None], (bias - mean) * scale + shift


def _pooled(x: Any) -> Any:
    import torch.nn.functional as functional

    return functional.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _resized(x: Any, like: Any) -> Any:
    import torch.nn.functional as functional

    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)
