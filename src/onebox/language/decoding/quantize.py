"""int8 weights for models on the CPU: half of bfloat16's bytes to read in a decode step.

Weights have a scale for each output, activations one for each row: a row's result is the same bits
whatever stands beside it. Sums of products are exact integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Protocol

ACTIVATION_LIMIT = 127
FULL_LIMIT = 127
# Two products of unsigned 8 by signed 7 bits still fit the 16 bits that older CPUs add them in.
REDUCED_LIMIT = 63

_ZERO_POINT = 128
_SMALLEST_SCALE = 1e-30


class Int8Projection(Protocol):
    """x [rows, in] of any float dtype → [rows, out], plus `residual` [rows, out] if given.

    Attributes:
        scales: float32 [out].
        bias: [out] or None.
    """

    scales: Any
    bias: Any

    @property
    def size_bytes(self) -> int: ...

    def weight(self) -> Any:
        """int8 [out, in]; times `scales` it is the weight."""

    def __call__(self, x: Any, residual: Any = None) -> Any: ...


class FbgemmProjection:
    """By FBGEMM, which is built for x86 only."""

    def __init__(self, weight: Any, scales: Any, bias: Any = None) -> None:
        import torch

        self.scales = scales
        self.bias = bias
        self._op = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32
        self._packed = _pack(weight, scales)
        self._bytes: int = weight.numel() + scales.numel() * 8

    @property
    def size_bytes(self) -> int:
        return self._bytes

    def weight(self) -> Any:
        import torch

        return torch.ops.quantized.linear_unpack(self._packed)[0].int_repr()

    def __call__(self, x: Any, residual: Any = None) -> Any:
        rows, scale = _scaled(x)
        out = self._op(rows, 1 / ACTIVATION_LIMIT, _ZERO_POINT, self._packed)
        return _finished(out.mul_(scale), self.bias, residual, x.dtype)


class PortableProjection:
    """By torch's own product of int8 matrices, on any CPU: the same numbers, at its own pace."""

    def __init__(self, weight: Any, scales: Any, bias: Any = None) -> None:
        self.scales = scales
        self.bias = bias
        self._weight = weight.contiguous()

    @property
    def size_bytes(self) -> int:
        return int(self._weight.numel() + self.scales.numel() * 4)

    def weight(self) -> Any:
        return self._weight

    def __call__(self, x: Any, residual: Any = None) -> Any:
        import torch

        rows, scale = _scaled(x)
        whole = rows.mul_(ACTIVATION_LIMIT).round_().char()
        sums = torch._int_mm(whole, self._weight.t()).float()
        out = sums.mul_(self.scales).mul_(scale.div_(ACTIVATION_LIMIT))
        return _finished(out, self.bias, residual, x.dtype)


def quantized(weight: Any) -> tuple[Any, Any]:
    """A weight [out, in] as int8 [out, in] and float32 scales [out]."""
    limit = weight_limit()
    rows = weight.detach().float()
    scales = rows.abs().amax(1).div_(limit).clamp_min_(_SMALLEST_SCALE)
    whole = (rows / scales[:, None]).round_().clamp_(-limit, limit)
    return whole.char(), scales


def create_int8_projection(weight: Any, bias: Any = None) -> Int8Projection:
    """For a weight [out, in] of any float dtype and a bias [out]."""
    return _projection(*quantized(weight), bias)


def join(projections: Sequence[Int8Projection]) -> Int8Projection:
    """One that gives their outputs side by side; the same numbers for one product instead of many.

    Raises ValueError where some have a bias and others none.
    """
    import torch

    biases = [projection.bias for projection in projections if projection.bias is not None]
    if biases and len(biases) < len(projections):
        raise ValueError("some of the projections have a bias and others none")
    return _projection(
        torch.cat([projection.weight() for projection in projections]),
        torch.cat([projection.scales for projection in projections]),
        torch.cat(biases) if biases else None,
    )


def Int8Linear(weight: Any, bias: Any = None) -> Any:  # noqa: N802  # a class in all but name
    """The torch module of a weight [out, in] and a bias [out], for inputs [..., in]."""
    return _linear_class()(weight, bias)


@cache
def _linear_class() -> Any:
    """Made on use, so that this module does not import torch."""
    import torch

    class Int8LinearModule(torch.nn.Module):
        """A linear layer for inputs of any leading dimensions; its output has their dtype."""

        bias: Any

        def __init__(self, weight: Any, bias: Any = None) -> None:
            super().__init__()
            self.out_features, self.in_features = weight.shape
            self.dtype = weight.dtype
            self.bias = bias
            self.projection = create_int8_projection(weight, bias)

        @property
        def weight(self) -> Any:
            """Made anew by each call, for the few models that look at a layer's weight."""
            rows = self.projection.weight().float() * self.projection.scales[:, None]
            return rows.to(self.dtype)

        def forward(self, x: Any) -> Any:
            rows = self.projection(x.reshape(-1, self.in_features))
            return rows.view(*x.shape[:-1], self.out_features)

    return Int8LinearModule


def quantize_int8(model: Any) -> None:
    """Replace every linear layer of a model by its int8 twin. Tied embeddings stay as they are."""
    import torch
    from transformers.pytorch_utils import Conv1D

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, torch.nn.Linear):
                setattr(parent, name, Int8Linear(layer.weight.detach(), _own(layer.bias)))
            elif isinstance(layer, Conv1D):
                setattr(parent, name, Int8Linear(layer.weight.detach().t(), _own(layer.bias)))


def int8_bytes(model: Any) -> int:
    """What the int8 layers of a model take, which are not among its parameters."""
    return sum(layer.projection.size_bytes for layer in _int8_layers(model))


def model_bytes(model: Any) -> int:
    """Of all weights, int8 ones included, which are not among the parameters."""
    return int(model.get_memory_footprint()) + int8_bytes(model)


@cache
def weight_limit() -> int:
    """The largest weight whose products this CPU sums exactly, found by trying the extremes."""
    import torch

    weight = torch.full((64, 256), FULL_LIMIT, dtype=torch.int8)
    scales = torch.ones(64)
    projection = _projection(weight, scales, None)
    exact = float(FULL_LIMIT * weight.shape[1])
    for rows in (1, 4, 32):
        ones = torch.ones(rows, weight.shape[1])
        if not all(bool((projection(sign * ones) == sign * exact).all()) for sign in (1, -1)):
            return REDUCED_LIMIT
    return FULL_LIMIT


@cache
def _has_fbgemm() -> bool:
    import torch

    return torch.backends.quantized.engine in ("x86", "fbgemm")


def _projection(weight: Any, scales: Any, bias: Any) -> Int8Projection:
    kind = FbgemmProjection if _has_fbgemm() else PortableProjection
    return kind(weight, scales, bias)


def _pack(weight: Any, scales: Any) -> Any:
    import torch

    zeros = torch.zeros(len(scales), dtype=torch.long)
    with warnings.catch_warnings():
        # Says that quantised tensors will leave torch some day. constraints.txt fixes its version.
        warnings.simplefilter("ignore", UserWarning)
        tensor = torch._make_per_channel_quantized_tensor(weight, scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(tensor, None)


def _scaled(x: Any) -> tuple[Any, Any]:
    """Rows within -1 and 1, and the scale [rows, 1] of each."""
    rows = x.float()
    scale = rows.abs().amax(-1, keepdim=True).clamp_min_(_SMALLEST_SCALE)
    return rows / scale, scale


def _finished(out: Any, bias: Any, residual: Any, dtype: Any) -> Any:
    """Everything is added in float32 and rounded once."""
    if bias is not None:
        out = out.add_(bias)
    if residual is not None:
        out = out.add_(residual)
    return out.to(dtype)


def _own(bias: Any) -> Any:
    return None if bias is None else bias.detach()


def _int8_layers(model: Any) -> Iterator[Any]:
    return (layer for layer in model.modules() if isinstance(layer, _linear_class()))
