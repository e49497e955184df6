"""Matrix products by weights that stay: packed once into the layout that the device reads fastest.

A decode step reads every weight for a handful of rows. On CPUs the packed product takes about half
the time of the plain one there (oneDNN's blocked layout), and its rows do not depend on each other.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

# Rows a call is laid out for: few, as in a decode step. More work as well.
ROWS_HINT = 8

Activation = Literal["none", "gelu"]


class Projection(Protocol):
    """x [rows, in] → [rows, out]."""

    @property
    def size_bytes(self) -> int: ...

    def __call__(self, x: Any) -> Any: ...


class PackedProjection:
    """On the CPU, through oneDNN."""

    def __init__(self, weight: Any, bias: Any, activation: Activation = "none") -> None:
        import torch

        self._op = torch.ops.mkldnn._linear_pointwise
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), ROWS_HINT)
        self._bias = bias
        # Of the two ways to compute a GELU, "none" is the exact one.
        self._after: tuple[str, list[Any], str] = (
            activation,
            [],
            "none" if activation == "gelu" else "",
        )
        self.size_bytes = weight.numel() * weight.element_size()

    def __call__(self, x: Any) -> Any:
        return self._op(x, self._weight, self._bias, *self._after)


class PlainProjection:
    """Everywhere else."""

    def __init__(self, weight: Any, bias: Any, activation: Activation = "none") -> None:
        self._weight = weight
        self._bias = bias
        self._activation = activation
        self.size_bytes = weight.numel() * weight.element_size()

    def __call__(self, x: Any) -> Any:
        import torch.nn.functional as functional

        out = functional.linear(x, self._weight, self._bias)
        return functional.gelu(out) if self._activation == "gelu" else out


def create_projection(weight: Any, bias: Any = None, activation: Activation = "none") -> Projection:
    """For a weight [out, in] and a bias [out]; the activation comes after the bias."""
    import torch

    available = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    packs = weight.device.type == "cpu" and available
    if packs and (weight.dtype == torch.float32 or _has_bfloat16(weight.dtype)):
        return PackedProjection(weight, bias, activation)
    return PlainProjection(weight, bias, activation)


def _has_bfloat16(dtype: Any) -> bool:
    import torch

    return bool(dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
