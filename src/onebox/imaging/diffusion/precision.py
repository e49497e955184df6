"""Pictures as numbers: found wrong, and computed once more in full precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from onebox.hardware.picture_rules import FULL_PRECISION, may_retry

# Among what a bundle keeps: the weights that are widened, each with its own dtype.
RAISED = "raised"


def is_wrong(pixels: Any) -> bool:
    """Whether a picture [3, h, w] has values that are no numbers."""
    import torch

    return not bool(torch.isfinite(pixels).all())


def is_black(pixels: Any) -> bool:
    """Whether there is nothing on it: some devices make zeros of what overflowed."""
    return not bool(pixels.any())


def to_pillow(pixels: Any) -> Any:
    """A Pillow RGB image of [3, h, w] between 0 and 1, rounded as diffusers does."""
    from PIL import Image

    values = pixels.permute(1, 2, 0).float().cpu().numpy()
    return Image.fromarray((values * 255).round().astype("uint8"))


def can_be_raised(pipeline: Any) -> bool:
    """Whether its weights have less than full precision, and can be given it."""
    return may_retry({str(t.dtype).removeprefix("torch.") for t in _weights(pipeline)})


@contextlib.contextmanager
def full_precision(bundle: Any) -> Iterator[None]:
    """Inside the block all weights are float32. Widening and back changes no bit of them."""
    import torch

    tensors = [tensor for tensor in _weights(bundle.pipeline) if tensor.is_floating_point()]
    before = [(tensor, tensor.dtype) for tensor in tensors]
    try:
        bundle.kept[RAISED] = before
        _cast((tensor, getattr(torch, FULL_PRECISION)) for tensor in tensors)
        yield
    finally:
        _cast(before)
        del bundle.kept[RAISED]


@contextlib.contextmanager
def widened(module: Any) -> Iterator[None]:
    """Inside the block all weights of one module are float32. No other run is to see it so."""
    import torch

    before = [(t, t.dtype) for t in module.parameters() if t.is_floating_point()]
    try:
        _cast((tensor, getattr(torch, FULL_PRECISION)) for tensor, _ in before)
        yield
    finally:
        _cast(before)


@contextlib.contextmanager
def as_loaded(bundle: Any) -> Iterator[None]:
    """Inside the block all weights are of their own dtype, whatever a run does that this one may be
    nested in.
    """
    raised = bundle.kept.pop(RAISED, None)
    if raised is None:
        yield
        return
    within = [(tensor, tensor.dtype) for tensor, _ in raised]
    try:
        _cast(raised)
        yield
    finally:
        _cast(within)
        bundle.kept[RAISED] = raised


def _cast(dtypes: Iterable[tuple[Any, Any]]) -> None:
    for tensor, dtype in dtypes:
        tensor.data = tensor.data.to(dtype)


def _weights(pipeline: Any) -> list[Any]:
    """Parameters, which are what dtypes and devices of modules are told by."""
    modules = (c for c in pipeline.components.values() if hasattr(c, "parameters"))
    return [tensor for module in modules for tensor in module.parameters()]
