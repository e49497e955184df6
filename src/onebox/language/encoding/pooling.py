"""From the vectors of a text's tokens to the text's vector."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onebox.core.errors import ModelBroken
from onebox.language.encoding.packed import Packed

TINY = 1e-9


class Head:
    """Pooling, and what sentence-transformers' modules do after it. Computes in float32.

    Args:
        steps: of the checkpoint's facts; the first one pools.
        folder: of the checkpoint.
    """

    def __init__(self, steps: Sequence[Mapping[str, Any]], folder: Path, device: str) -> None:
        self._modes: list[str] = list(steps[0]["modes"])
        self._with_prompt = bool(steps[0].get("include_prompt", True))
        self._modules = [_module(step, folder, device) for step in steps[1:]]
        self.size_bytes = sum(size for _, size in self._modules)

    def __call__(self, hidden: Any, packed: Packed) -> Any:
        """hidden [tokens, width] → [texts, dimensions]."""
        import torch

        # A text that is nothing but its prompt keeps it.
        skipped = [
            0 if self._with_prompt or prompt >= length else prompt
            for prompt, length in zip(packed.prompts, packed.lengths, strict=True)
        ]
        parts = hidden.float().split(packed.lengths)
        rows = [
            torch.cat([POOLINGS[mode](part, skip) for mode in self._modes])
            for part, skip in zip(parts, skipped, strict=True)
        ]
        vectors = torch.stack(rows)
        for module, _ in self._modules:
            vectors = module(vectors)
        return vectors


def _mean(part: Any, skip: int) -> Any:
    return part[skip:].mean(0)


def _mean_sqrt(part: Any, skip: int) -> Any:
    return part[skip:].sum(0) / float(len(part) - skip) ** 0.5


def _max(part: Any, skip: int) -> Any:
    return part[skip:].amax(0)


def _first(part: Any, skip: int) -> Any:
    return part[skip]


def _last(part: Any, skip: int) -> Any:
    return part[-1]


def _weighted_mean(part: Any, skip: int) -> Any:
    """Later tokens weigh more, by their place in the whole text."""
    import torch

    weights = torch.arange(skip + 1, len(part) + 1, device=part.device, dtype=part.dtype)
    return (part[skip:] * weights[:, None]).sum(0) / weights.sum().clamp(min=TINY)


POOLINGS: Mapping[str, Callable[[Any, int], Any]] = {
    "cls": _first,
    "max": _max,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
    "lasttoken": _last,
}


def _module(step: Mapping[str, Any], folder: Path, device: str) -> tuple[Callable[[Any], Any], int]:
    """What a step does with vectors, and the bytes of its weights."""
    import torch
    import torch.nn.functional as functional

    if step["step"] == "normalize":
        return functional.normalize, 0
    if step["step"] == "dense":
        weights = _read(folder, step["file"], ("linear.weight", "linear.bias"), device)
        activate = getattr(torch.nn, step["activation"])()
        weight, bias = weights["linear.weight"], weights.get("linear.bias")
        if tuple(weight.shape) != (step["to"], step["from"]):
            raise ModelBroken(f"{step['file']} has a weight of {tuple(weight.shape)}")
        return lambda x: activate(functional.linear(x, weight, bias)), _bytes(weights)
    weights = _read(folder, step["file"], ("norm.weight", "norm.bias"), device)
    shape = (step["to"],)
    weight, bias = weights["norm.weight"], weights.get("norm.bias")
    return lambda x: functional.layer_norm(x, shape, weight, bias), _bytes(weights)


def _read(folder: Path, file: str, names: tuple[str, str], device: str) -> dict[str, Any]:
    """The first of the names must be there."""
    from safetensors.torch import load_file

    found = load_file(folder / file, device=device)
    if names[0] not in found:
        raise ModelBroken(f"{file} has no {names[0]}; copy the whole checkpoint")
    return {name: found[name].float() for name in names if name in found}


def _bytes(weights: Mapping[str, Any]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
