"""Pictures larger than a model learnt: at each step its denoiser looks at overlapping parts of the
latents, and what it says of them is put together before the step is taken.

So there is one picture all the time, of which neighbouring parts cannot differ; parts that were
drawn to the end by themselves would show two things at once where they overlap.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from onebox.core.contracts import Device
from onebox.hardware.picture_rules import batch_size
from onebox.imaging.tiles import bell, corners

# Of a part's side, what it shares with the next one.
OVERLAP = 1 / 4
NAMES = ("unet", "transformer")


def look_at_parts(view: Any, tile: int, device: Device, *, lean: bool) -> None:
    """Let the view's denoiser look at parts of `tile` pixels a side.

    The view is one of a single call: its pipeline's own denoiser is as it was. Lean, it looks at
    one part at a time.
    """
    (name,) = (name for name in NAMES if getattr(view, name, None) is not None)
    together = 1 if lean else batch_size(device, tile * tile)
    side = tile // view.vae_scale_factor
    setattr(view, name, _TiledDenoiser(getattr(view, name), side, together))


class _TiledDenoiser:
    """Stands for a denoiser of latents [n, c, h, w].

    Args:
        side: of a part, in latents.
        together: how many parts one call of the denoiser may have.
    """

    def __init__(self, denoiser: Any, side: int, together: int) -> None:
        self._denoiser = denoiser
        self._side = side
        self._together = together

    def __getattr__(self, name: str) -> Any:
        return getattr(self._denoiser, name)

    def __call__(self, *given: Any, return_dict: bool = True, **named: Any) -> Any:
        latents = given[0] if given else named["hidden_states"]
        said = self._said(latents, given[1:], named, bool(given))
        return SimpleNamespace(sample=said) if return_dict else (said,)

    def _said(self, latents: Any, more: Any, named: Any, is_first: bool) -> Any:
        """What the denoiser says of the whole, [n, c, h, w] as its own output is."""
        height, width = latents.shape[-2:]
        tall, wide = min(self._side, height), min(self._side, width)
        places = corners((width, height), (wide, tall), int(self._side * OVERLAP))
        down, across = (_weights(side, latents) for side in (tall, wide))
        weight = down[:, None] * across
        count = max(1, self._together // len(latents))
        whole: Any = None
        weights = latents.new_zeros((height, width), dtype=weight.dtype)
        for at in range(0, len(places), count):
            run = places[at : at + count]
            cut = [latents[..., top : top + tall, left : left + wide] for left, top in run]
            parts = self._ask(cut, len(latents), more, named, is_first)
            for part, (left, top) in zip(parts, run, strict=True):
                if whole is None:
                    size = (*part.shape[:-2], height, width)
                    whole = weights.new_zeros(size)
                spot = (..., slice(top, top + tall), slice(left, left + wide))
                whole[spot] += part * weight
                weights[spot] += weight
        return (whole / weights).to(latents.dtype)

    def _ask(self, cut: Any, each: int, more: Any, named: Any, is_first: bool) -> Any:
        """What the denoiser says of some parts, of `each` pictures."""
        import torch

        count = len(cut)
        given = [_repeated(value, each, count) for value in more]
        told = {name: _repeated(value, each, count) for name, value in named.items()}
        parts = torch.cat(cut)
        if is_first:
            given = [parts, *given]
        else:
            told["hidden_states"] = parts
        said: Any = self._denoiser(*given, return_dict=False, **told)[0]
        return said.split(each)


def _weights(side: int, latents: Any) -> Any:
    """float32 [side]."""
    import torch

    return torch.tensor(bell(side), dtype=torch.float32, device=latents.device)


def _repeated(value: Any, each: int, count: int) -> Any:
    """What is told of each picture, told of each of its parts; what is told of all stays."""
    if isinstance(value, dict):
        return {name: _repeated(part, each, count) for name, part in value.items()}
    is_of_each = hasattr(value, "shape") and value.ndim > 0 and len(value) == each
    return value.repeat(count, *[1] * (value.ndim - 1)) if is_of_each else value
