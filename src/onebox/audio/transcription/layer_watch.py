"""Calls between the layers of a library's model, so that a long pass can be left in its middle."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def between_layers(model: Any, call: Callable[[], None]) -> Iterator[None]:
    """`call` before each layer of a torch model, in its thread; what it raises ends the pass."""
    from torch.nn import ModuleList

    lists = [module for module in model.modules() if isinstance(module, ModuleList)]
    hooks = [
        layer.register_forward_pre_hook(lambda *_: call()) for layers in lists for layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
