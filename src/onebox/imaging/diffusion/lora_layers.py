"""A layer with a LoRA: its own output, and what the LoRA adds to it."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from onebox.imaging.diffusion.lora_places import Place, Shape


class Addition(Protocol):
    """What is added to a layer's output [..., out] for its input; `own` is what it gives itself."""

    def __call__(self, x: Any, own: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class LowRank:
    """up · (mid ·) down · x."""

    steps: Sequence[tuple[Any, Mapping[str, Any]]]

    def __call__(self, x: Any, own: Any) -> Any:
        for weight, arguments in self.steps:
            x = _product(x, weight, arguments)
        return x


@dataclass(frozen=True, slots=True)
class Full:
    """A difference as large as the weight."""

    weight: Any
    arguments: Mapping[str, Any]

    def __call__(self, x: Any, own: Any) -> Any:
        return _product(x, self.weight, self.arguments)


@dataclass(frozen=True, slots=True)
class Bias:
    """A difference to the bias, in a shape that can be added to the output."""

    value: Any

    def __call__(self, x: Any, own: Any) -> Any:
        return self.value


def additions_to(
    parts: Mapping[str, Any], place: Place, scale: float, shape: Shape, like: Any
) -> list[Addition] | None:
    """What the parts of a LoRA's layer add to a module; None where they do not fit it.

    Args:
        like: a tensor of the device and dtype to compute with.
    """
    try:
        found = weight_additions(parts, place, scale, shape, like)
        if "diff_b" in parts:
            found.append(bias_addition(parts["diff_b"], place, scale, shape, like))
    except Misfit:
        return None
    return found


def weight_additions(
    parts: Mapping[str, Any], place: Place, scale: float, shape: Shape, like: Any
) -> list[Addition]:
    """Those to the product of weight and input. Raises Misfit.

    Whether they fit is judged by their shapes: nothing large is made of a file that does not.
    """
    if "down" in parts:
        return [_low_rank(parts, place, scale, shape, like)]
    if all(part == "diff_b" for part in parts):
        return []
    weight = _whole(parts, place, shape) * scale
    return [Full(_fitted(weight, shape, place).to(like), shape.arguments)]


def weight_difference(parts: Mapping[str, Any], place: Place, shape: Shape, device: Any) -> Any:
    """What the parts add to a module's weight, in float32 and in its shape. Raises Misfit."""
    import torch

    if "down" not in parts:
        return _fitted(_whole(parts, place, shape), shape, place).to(device)
    down, up, *mid = (
        parts[part].to(device).float() for part in ("down", "up", "mid") if part in parts
    )
    up = place.rows_of(up).flatten(1)
    if mid:
        weight = torch.einsum("or,rs...,si->oi...", up, mid[0], down.flatten(1))
    else:
        weight = (up @ down.flatten(1)).reshape(len(up), *down.shape[1:])
    return _fitted(weight, shape, place)


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
    _require(rank > 0 and up.ndim > 1 and tuple(up.shape[:2]) == (place.outputs, rank))
    _require(math.prod(up.shape[2:]) == 1)
    up = (place.rows_of(up).float() * scale).reshape(shape.outputs, rank, *ones)
    if mid is None:
        steps = [(wide, shape.arguments), (up, {})]
    else:
        _require(tuple(mid.shape) == (rank, rank, *kernel))
        steps = [(wide, {}), (mid, shape.arguments), (up, {})]
    return LowRank([(weight.to(like), arguments) for weight, arguments in steps])


def bias_addition(value: Any, place: Place, scale: float, shape: Shape, like: Any) -> Bias:
    """Raises Misfit."""
    _require(tuple(value.shape) == (place.outputs,))
    return Bias(shape.per_channel((place.rows_of(value).float() * scale).to(like)))


def _whole(parts: Mapping[str, Any], place: Place, shape: Shape) -> Any:
    """The module's rows of a difference that is not of low rank."""
    weight = _weight(parts, place.outputs * shape.fan_in)
    _require(weight.ndim > 1)
    return place.rows_of(weight)


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


class Misfit(Exception):
    """A part has another shape than the layer needs."""


def _require(condition: bool) -> None:
    if not condition:
        raise Misfit


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
            output = own = self.stands_for(x, *arguments, **options)
            given = x.to(self.dtype)
            for add in self.additions:
                output = output + add(given, own).to(output.dtype)
            return output

    return Adapted
