"""DoRA: layers whose rows or columns get lengths that were learnt.

W' = m · (W + ΔW) / ‖W + ΔW‖, the norm over each row, or over each column as LyCORIS once had it.
With W + strength · (W' - W) a strength of 0 is the model itself and 1 what was trained. Nothing as
large as the weights is kept: what a layer gives by itself is scaled, and the difference stays in
the form that the file has it in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from onebox.imaging.diffusion.lora_layers import (
    Addition,
    Misfit,
    bias_addition,
    weight_additions,
    weight_difference,
)
from onebox.imaging.diffusion.lora_places import Place, Shape

# Parts of a layer: lengths of rows or columns, as their shape tells; lengths of rows, as in PEFT.
EITHER, ROWS = "dora_scale", "magnitude"
_SMALLEST = 1e-12
# So many values of a weight are looked at together: they stay near the processor, and a large
# layer takes no more memory than a small one.
_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class Part:
    """One of the modules that a layer of a LoRA stands for.

    `like` is a tensor of the device and dtype to compute with.
    """

    module: Any
    shape: Shape
    place: Place
    like: Any

    def weight(self) -> Any:
        """[outputs, inputs, …] in floating point, where and as it is kept."""
        import torch

        weight = self.module.weight.detach()
        if weight.dtype.is_floating_point:
            return weight
        # Of a quantised layer: what it makes of each input by itself.
        each = torch.eye(self.shape.inputs, dtype=self.like.dtype, device=self.like.device)
        given = self.module(each).float()
        bias = self.bias()
        return (given if bias is None else given - bias.float()).T

    def bias(self) -> Any:
        """In a shape that goes with what the module gives; None where it has none."""
        bias = getattr(self.module, "bias", None)
        return None if bias is None else self.shape.per_channel(bias.detach().to(self.like))


@dataclass(frozen=True, slots=True)
class ScaledRows:
    """(g - 1) · W·x + g · ΔW·x, for a factor g of each output; `bias` is the layer's own."""

    differences: Sequence[Addition]
    less: Any
    factor: Any
    bias: Any

    def __call__(self, x: Any, own: Any) -> Any:
        added = (own if self.bias is None else own - self.bias) * self.less
        for difference in self.differences:
            added = added + difference(x, own) * self.factor
        return added


@dataclass(frozen=True, slots=True)
class ScaledColumns:
    """W·(g - 1)x + ΔW·gx, for a factor g of each input; the layer itself is asked once more."""

    layer: Any
    differences: Sequence[Addition]
    less: Any
    factor: Any
    bias: Any

    def __call__(self, x: Any, own: Any) -> Any:
        added = self.layer((x * self.less).to(own.dtype))
        if self.bias is not None:
            added = added - self.bias
        for difference in self.differences:
            added = added + difference(x * self.factor, own)
        return added


def has_magnitudes(parts: Mapping[str, Any]) -> bool:
    return EITHER in parts or ROWS in parts


def scaled_additions(
    parts: Mapping[str, Any], modules: Sequence[Part], scale: float, strength: float
) -> list[list[Addition]] | None:
    """What a layer with magnitudes adds to each of its modules; None where it does not fit them.

    Args:
        scale: alpha / rank, which the lengths were learnt with.
        strength: of the whole.
    """
    plain = {part: x for part, x in parts.items() if part not in (EITHER, ROWS, "diff_b")}
    # A length is of a whole row, also where the module takes in more than the layer knows.
    exact = [replace(m, place=replace(m.place, widen=False)) for m in modules]
    try:
        return _scaled(parts, plain, exact, scale, strength)
    except Misfit:
        return None


def _scaled(
    parts: Mapping[str, Any],
    plain: Mapping[str, Any],
    modules: Sequence[Part],
    scale: float,
    strength: float,
) -> list[list[Addition]]:
    if not plain:
        raise Misfit
    by_columns = _is_of_columns(parts, modules)
    differences = [weight_additions(plain, m.place, scale, m.shape, m.like) for m in modules]
    squares = [_squares(module, plain, scale, by_columns) for module in modules]
    lengths = parts.get(ROWS, parts.get(EITHER)).flatten()
    found: list[list[Addition]] = []
    for module, difference, own in zip(modules, differences, squares, strict=True):
        # A column goes through all modules of the layer, a row lies in one.
        square = sum(squares) if by_columns else own
        wanted = lengths if by_columns else module.place.rows_of(lengths)
        factor = wanted.to(square) / square.sqrt().clamp_min(_SMALLEST)
        less = module.shape.per_channel((strength * (factor - 1)).to(module.like))
        factor = module.shape.per_channel((strength * factor).to(module.like))
        bias = module.bias()
        one: Addition = (
            ScaledColumns(module.module, difference, less, factor, bias)
            if by_columns
            else ScaledRows(difference, less, factor, bias)
        )
        found.append([one])
        if "diff_b" in parts:
            place, shape = module.place, module.shape
            value = bias_addition(parts["diff_b"], place, scale * strength, shape, module.like)
            found[-1].append(value)
    return found


def _squares(module: Part, plain: Mapping[str, Any], scale: float, by_columns: bool) -> Any:
    """Of the lengths of the rows or columns of W + ΔW, some rows at a time where that can be."""
    import torch

    weight, place, shape = module.weight(), module.place, module.shape
    in_pieces = "down" in plain and not place.swapped
    count = max(1, _AT_ONCE // shape.fan_in) if in_pieces else shape.outputs
    across = [axis for axis in range(weight.ndim) if axis != int(by_columns)]
    found = []
    for start in range(0, shape.outputs, count):
        piece = weight[start : start + count].to(module.like.device, torch.float32)
        first = place.rows.start + start
        own = slice(first, first + len(piece))
        changed = weight_difference(
            plain, replace(place, rows=own), replace(shape, outputs=len(piece)), piece.device
        )
        whole = torch.add(piece, changed, alpha=scale)
        found.append(torch.linalg.vector_norm(whole, dim=across).square())
    return sum(found) if by_columns else torch.cat(found)


def _is_of_columns(parts: Mapping[str, Any], modules: Sequence[Part]) -> bool:
    """Whether the lengths are those of columns. Raises Misfit for neither."""
    shape, outputs = modules[0].shape, modules[0].place.outputs
    lengths = parts.get(ROWS, parts.get(EITHER))
    size = tuple(lengths.shape)
    if ROWS in parts or size[:1] == (outputs,):
        if lengths.numel() != outputs:
            raise Misfit
        return False
    if size[:2] != (1, shape.inputs) or lengths.numel() != shape.inputs:
        raise Misfit
    return True
