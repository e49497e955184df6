"""A layer with a LoRA: its own output, and what the LoRA adds to it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Addition(Protocol):
    """What is added to a layer's output [..., out] for its input."""

    def __call__(self, x: Any) -> Any: ...


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a module stands in a layer of a LoRA, which may be several modules of ours.

    Attributes:
        rows: those of the layer's outputs that are the module's.
        outputs: of the whole layer.
        widen: the module may take in more than the layer knows, which then sees nothing of it.
    """

    rows: slice
    outputs: int
    widen: bool = False


@dataclass(frozen=True, slots=True)
class LowRank:
    """up · (mid ·) down · x."""

    steps: Sequence[tuple[Any, Mapping[str, Any]]]

    def __call__(self, x: Any) -> Any:
        for weight, arguments in self.steps:
            x = _product(x, weight, arguments)
        return x


@dataclass(frozen=True, slots=True)
class Full:
    """A difference as large as the weight."""

    weight: Any
    arguments: Mapping[str, Any]

    def __call__(self, x: Any) -> Any:
        return _product(x, self.weight, self.arguments)


@dataclass(frozen=True, slots=True)
class Bias:
    """A difference to the bias, in a shape that can be added to the output."""

    value: Any

    def __call__(self, x: Any) -> Any:
        return self.value


def shape_of(module: Any) -> Shape | None:
    """None for a convolution in groups, to which nothing can be added."""
    if hasattr(module, "in_features"):
        return Shape(module.out_features, module.in_features, None, {})
    if module.groups != 1:
        return None
    arguments = {name: getattr(module, name) for name in ("stride", "padding", "dilation")}
    return Shape(module.out_channels, module.in_channels, tuple(module.kernel_size), arguments)


def additions_to(
    parts: Mapping[str, Any], place: Place, scale: float, shape: Shape, like: Any
) -> list[Addition] | None:
    """What the parts of a LoRA's layer add to a module; None where they do not fit it.

    Whether they fit is judged by their shapes: nothing large is made of a file that does not.

    Args:
        like: a tensor of the device and dtype to compute with.
    """
    found: list[Addition] = []
    try:
        if "down" in parts:
            found.append(_low_rank(parts, place, scale, shape, like))
        elif any(part != "diff_b" for part in parts):
            weight = _weight(parts, place.outputs * shape.fan_in)[place.rows] * scale
            found.append(Full(_fitted(weight, shape, place).to(like), shape.arguments))
        if "diff_b" in parts:
            found.append(_bias(parts["diff_b"], place, scale, shape, like))
    except _Misfit:
        return None
    return found


def adapted(module: Any, additions: Sequence[Addition], dtype: Any) -> Any:
    """A module that stands for another one, with the additions computed in `dtype`."""
    return _adapted_class()(module, additions, dtype)


def _low_rank(
    parts: Mapping[str, Any], place: Place, scale: float, shape: Shape, like: Any
) -> LowRank:
    down, up, mid = parts["down"], parts["up"], parts.get("mid")
    rank, kernel = len(down) if down.ndim else 0, shape.kernel or ()
    ones = (1,) * len(kernel)
    inner = shape if mid is None else dataclasses.replace(shape, kernel=ones or None)
    wide = _fitted(down, dataclasses.replace(inner, outputs=rank), place)
    _require(up.ndim > 1 and tuple(up.shape[:2]) == (place.outputs, rank))
    _require(math.prod(up.shape[2:]) == 1)
    up = (up[place.rows].float() * scale).reshape(shape.outputs, rank, *ones)
    if mid is None:
        steps = [(wide, shape.arguments), (up, {})]
    else:
        _require(tuple(mid.shape) == (rank, rank, *kernel))
        steps = [(wide, {}), (mid, shape.arguments), (up, {})]
    return LowRank([(weight.to(like), arguments) for weight, arguments in steps])


def _bias(value: Any, place: Place, scale: float, shape: Shape, like: Any) -> Bias:
    _require(tuple(value.shape) == (place.outputs,))
    own = (value[place.rows].float() * scale).to(like)
    return Bias(own.reshape(-1, *(1 for _ in shape.kernel or ())))


def _fitted(weight: Any, shape: Shape, place: Place) -> Any:
    """The weight in the shape of the module's. Linear layers are often kept as 1x1 kernels."""
    import torch.nn.functional as functional

    kernel = shape.kernel or ()
    if weight.ndim == 4 and not kernel and tuple(weight.shape[2:]) == (1, 1):
        weight = weight[:, :, 0, 0]
    if weight.ndim == 2 and kernel:
        _require(weight.shape[1] % math.prod(kernel) == 0)
        weight = weight.reshape(len(weight), -1, *kernel)
    _require(weight.ndim == 2 + len(kernel))
    missing = shape.inputs - weight.shape[1]
    if place.widen and missing > 0:
        weight = functional.pad(weight, (*(0, 0) * len(kernel), 0, missing))
    _require(tuple(weight.shape) == (shape.outputs, shape.inputs, *kernel))
    return weight


def _weight(parts: Mapping[str, Any], size: int) -> Any:
    """The difference that LoHa, LoKr and plain differences make to a weight of `size` numbers.

    Computed in float32: products of small halves vanish.
    """
    import torch

    full = {name: tensor.float() for name, tensor in parts.items()}
    if "diff" in full:
        return full["diff"]
    if "hada_w1_a" in full:
        one, two = (_composed(full, f"hada_w{i}", f"hada_t{i}", size) for i in (1, 2))
        _require(one.shape == two.shape)
        return one * two
    one = _composed(full, "lokr_w1", "", size)
    two = _composed(full, "lokr_w2", "lokr_t2", size)
    _require(one.ndim == 2 and two.ndim in (2, 4) and one.numel() * two.numel() <= size)
    return torch.kron(one[:, :, None, None] if two.ndim == 4 else one, two.contiguous())


def _composed(parts: Mapping[str, Any], name: str, core_name: str, most: int) -> Any:
    """A factor as it is, or as the product of its two halves, around a core of kernels."""
    import torch

    if name in parts:
        return parts[name]
    a, b, core = parts[f"{name}_a"], parts[f"{name}_b"], parts.get(core_name)
    _require(a.ndim == 2 and b.ndim > 1)
    if core is None:
        b = b.flatten(1)
        _require(a.shape[1] == b.shape[0] and a.shape[0] * b.shape[1] <= most)
        return a @ b
    _require(core.ndim == 4 and b.ndim == 2 and core.shape[:2] == (a.shape[0], b.shape[0]))
    _require(a.shape[1] * b.shape[1] * math.prod(core.shape[2:]) <= most)
    return torch.einsum("ijkl,ip,jr->prkl", core, a, b)


class _Misfit(Exception):
    """A part has another shape than the layer needs."""


def _require(condition: bool) -> None:
    if not condition:
        raise _Misfit


def _product(x: Any, weight: Any, arguments: Mapping[str, Any]) -> Any:
    import torch.nn.functional as functional

    if weight.ndim == 2:
        return functional.linear(x, weight)
    return functional.conv2d(x, weight, **arguments)


@functools.cache
def _adapted_class() -> Any:
    """Made on use, so that this module does not import torch."""
    import torch

    class Adapted(torch.nn.Module):
        """Looks like the layer it stands for, to code that asks for its weight or its width."""

        def __init__(self, base: Any, additions: Sequence[Addition], dtype: Any) -> None:
            super().__init__()
            self.stands_for = base
            self.additions = additions
            self.dtype = dtype

        def __getattr__(self, name: str) -> Any:
            try:
                return super().__getattr__(name)
            except AttributeError:
                return getattr(super().__getattr__("stands_for"), name)

        def forward(self, x: Any, *arguments: Any, **options: Any) -> Any:
            output = self.stands_for(x, *arguments, **options)
            given = x.to(self.dtype)
            for add in self.additions:
                output = output + add(given).to(output.dtype)
            return output

    return Adapted
