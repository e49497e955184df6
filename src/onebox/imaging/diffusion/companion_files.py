"""Reading the files that a request names beside its checkpoint, which may go or change at any time.

Nothing that is read stays a view of the file: one that is cut short while its pages are in use ends
the process.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from onebox.core.contracts import Entry
from onebox.core.errors import InvalidInput, ModelBusy

RETRY_S = 1.0


@contextlib.contextmanager
def reading(entry: Entry, param: str) -> Iterator[None]:
    """In the body the files of a companion are read. Raises ModelBusy when they cannot be."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, KeyError) as error:
        raise ModelBusy(
            f"the file of {entry.name} went or changed while it was read; try again",
            param=param,
            retry_after_s=RETRY_S,
            should_retry=True,
        ) from error


def owned(tensor: Any) -> Any:
    """A copy in memory of a tensor of a file."""
    return tensor.clone()


def require_numbers(entry: Entry, tensors: Any, param: str) -> None:
    """Raises InvalidInput when there are values that are no numbers among the tensors."""
    import torch

    if not all(bool(torch.isfinite(tensor.float()).all()) for tensor in tensors):
        raise InvalidInput(
            f"{entry.name} holds values that are no numbers, so its file is damaged; copy it again",
            param=param,
            details={"model": entry.name},
        )
