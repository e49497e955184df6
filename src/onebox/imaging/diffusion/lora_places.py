"""Where the layers of a LoRA stand in a pipeline: a module's shape, and its part of a layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Shape:
    """A linear layer's or a 2-D convolution's: `kernel` is None for the former.

    `arguments` are the convolution's stride, padding and dilation.
    """

    outputs: int
    inputs: int
    kernel: tuple[int, ...] | None
    arguments: Mapping[str, Any]

    @property
    def fan_in(self) -> int:
        """How many numbers each output is made of."""
        return self.inputs * math.prod(self.kernel or ())

    def per_channel(self, values: Any) -> Any:
        """One number for each channel, in a shape that goes with what the module takes or gives."""
        return values.reshape(-1, *(1 for _ in self.kernel or ()))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module stands in a layer of a LoRA, which may be several modules of ours.

    Attributes:
        rows: those of the layer's outputs that are the module's.
        outputs: of the whole layer.
        widen: the module may take in more than the layer knows, which then sees nothing of it.
        swapped: the two halves of the layer's outputs are the module's the other way round.
    """

    rows: slice
    outputs: int
    widen: bool = False
    swapped: bool = False

    def rows_of(self, tensor: Any) -> Any:
        """The module's rows of a tensor [outputs, …] of the layer."""
        import torch

        own = tensor[self.rows]
        return torch.cat(own.chunk(2)[::-1]) if self.swapped else own


def shape_of(module: Any) -> Shape | None:
    """None for a convolution in groups, to which nothing can be added."""
    if hasattr(module, "in_features"):
        return Shape(module.out_features, module.in_features, None, {})
    if module.groups != 1:
        return None
    arguments = {name: getattr(module, name) for name in ("stride", "padding", "dilation")}
    return Shape(module.out_channels, module.in_channels, tuple(module.kernel_size), arguments)
