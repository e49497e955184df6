"""Bytes of weights: as headers tell them, and as loaded modules hold them, in their own memory."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from onebox.core.contracts import DTYPE_BYTES, DtypeName
from onebox.core.on_disk import TensorInfo

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


def bytes_as(tensors: Iterable[TensorInfo], dtype: DtypeName) -> int:
    """Bytes of tensors of a safetensors file once the floating-point ones are in `dtype`."""
    return sum(
        math.prod(tensor.shape) * DTYPE_BYTES[dtype]
        if tensor.dtype in FLOATS
        else tensor.size_bytes
        for tensor in tensors
    )


def own_memory(modules: Iterable[Any]) -> None:
    """Copy weights on the CPU that may still be views of a mapped file.

    Who overwrites the file in place would change them, and who cuts it short end the process.
    """
    copies: dict[tuple[Any, ...], Any] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.device.type == "cpu":
                place = (tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
                if place not in copies:
                    copies[place] = tensor.data.clone()
                tensor.data = copies[place]


def resident_bytes(modules: Iterable[Any]) -> int:
    """Sum of the unique tensor storages of torch modules."""
    seen: dict[int, int] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())
