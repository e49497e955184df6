"""Random numbers of one sentence, for models that draw them from torch's global generator."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import cache
from typing import Any

_Draw = Callable[..., Any]


def seeded(seed: int) -> AbstractContextManager[Any]:
    """Within it, what this thread draws depends on the seed alone.

    The global generator is neither read nor changed, and other threads draw as ever. Numbers are
    drawn on the CPU whatever the device, so that one seed means one voice on all of them.
    """
    import torch

    return _mode_class()(torch.Generator().manual_seed(seed))  # type: ignore[no-any-return]


@cache
def _mode_class() -> Any:
    from torch.overrides import TorchFunctionMode

    replaced = _replacements()

    class SeededMode(TorchFunctionMode):
        def __init__(self, generator: Any) -> None:
            super().__init__()
            self._generator = generator

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            draw = replaced.get(func)
            if draw is None:
                return func(*args, **(kwargs or {}))
            return draw(self._generator, *args, **(kwargs or {}))

    return SeededMode


def _replacements() -> Mapping[Any, _Draw]:
    """Drawing function of torch → the same with a generator in front of its arguments."""
    import torch

    functional = torch.nn.functional
    factories = (torch.randn, torch.rand, torch.randint)
    alike = {
        torch.randn_like: torch.randn,
        torch.rand_like: torch.rand,
    }
    in_place = ("normal_", "uniform_", "bernoulli_", "exponential_")
    return {
        **{function: _factory(function) for function in factories},
        **{function: _like(made_by) for function, made_by in alike.items()},
        **{getattr(torch.Tensor, name): _in_place(name) for name in in_place},
        torch.bernoulli: _bernoulli,
        torch.Tensor.bernoulli: _bernoulli,
        torch.multinomial: _multinomial,
        torch.Tensor.multinomial: _multinomial,
        functional.dropout: _dropout,
        torch.dropout: _dropout,
    }


def _factory(function: Any) -> _Draw:
    def draw(generator: Any, *size: Any, device: Any = None, **options: Any) -> Any:
        options.pop("generator", None)
        found = function(*size, generator=generator, device="cpu", **options)
        return found if device is None else found.to(device)

    return draw


def _like(function: Any) -> _Draw:
    def draw(generator: Any, like: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Any:
        found = function(like.shape, generator=generator, dtype=dtype or like.dtype)
        return found.to(like.device if device is None else device)

    return draw


def _in_place(name: str) -> _Draw:
    def draw(generator: Any, tensor: Any, *args: Any, **options: Any) -> Any:
        import torch

        options.pop("generator", None)
        found = torch.empty(tensor.shape, dtype=tensor.dtype)
        return tensor.copy_(getattr(found, name)(*args, generator=generator, **options))

    return draw


def _bernoulli(generator: Any, tensor: Any, p: float | None = None, **_: Any) -> Any:
    import torch

    chances = tensor.detach().cpu() if p is None else torch.full(tensor.shape, p)
    return torch.bernoulli(chances, generator=generator).to(tensor.device, tensor.dtype)


def _multinomial(
    generator: Any, weights: Any, num_samples: int, replacement: bool = False, **_: Any
) -> Any:
    import torch

    chosen = torch.multinomial(weights.cpu(), num_samples, replacement, generator=generator)
    return chosen.to(weights.device)


def _dropout(
    generator: Any,
    tensor: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    **_: Any,
) -> Any:
    if not training or p == 0:
        return tensor
    kept = _bernoulli(generator, tensor, 1 - p)
    return tensor.mul_(kept).div_(1 - p) if inplace else tensor * kept / (1 - p)
