"""Matrix products with an activation after them: one operation where the CPU's library has it."""

from __future__ import annotations

from typing import Any

from onebox.language.decoding.projection import (
    ROWS_HINT,
    PackedProjection,
    Projection,
    create_projection,
)

# By transformers' names: what oneDNN calls it, and its algorithm.
ACTIVATIONS = {
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


class PackedActivated:
    """On the CPU, through oneDNN."""

    def __init__(self, weight: Any, bias: Any, activation: str) -> None:
        import torch

        self._op = torch.ops.mkldnn._linear_pointwise
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_HINT)
        self._bias = bias
        self._activation, self._algorithm = ACTIVATIONS[activation]
        self.size_bytes = weight.numel() * weight.element_size()

    def __call__(self, x: Any) -> Any:
        return self._op(x, self._weight, self._bias, self._activation, [], self._algorithm)


class PlainActivated:
    """Everywhere else."""

    def __init__(self, product: Projection, activation: str) -> None:
        self._product = product
        self._activation, self._algorithm = ACTIVATIONS[activation]
        self.size_bytes = product.size_bytes

    def __call__(self, x: Any) -> Any:
        import torch.nn.functional as functional

        if self._activation == "relu":
            return functional.relu(self._product(x))
        return functional.gelu(self._product(x), approximate=self._algorithm)


def create_activated(weight: Any, bias: Any, activation: str) -> Projection:
    """activation(x · weightᵀ + bias) for a weight [out, in]; see ACTIVATIONS."""
    product = create_projection(weight, bias)
    if isinstance(product, PackedProjection):
        return PackedActivated(weight, bias, activation)
    return PlainActivated(product, activation)
