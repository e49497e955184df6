"""Bytes of weights: as headers tell them, and as loaded modules hold them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from onebox.core.contracts import DTYPE_BYTES, DtypeName, TensorInfo

FLOATS = frozenset({"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"})


def bytes_as(tensors: Iterable[TensorInfo], dtype: DtypeName) -> int:
    """Bytes of tensors of a safetensors file once the floating-point ones are in `dtype`."""
    return sum(
        math.prod(tensor.shape) * DTYPE_BYTES[dtype]
        if tensor.dtype in FLOATS
        else tensor.size_bytes
        for tensor in tensors
    )


def resident_bytes(modules: Iterable[Any]) -> int:
    """Sum of the unique tensor storages of torch modules."""
    seen: dict[int, int] = {}
    for module in modules:
        for tensor in (*module.parameters(), *module.buffers()):
            storage = tensor.untyped_storage()
            seen[storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())
