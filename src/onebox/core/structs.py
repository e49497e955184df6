"""msgspec's Structs, made known before threads use them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

OURS = "onebox."


def learn_structs() -> None:
    """Have msgspec look at the fields of every Struct of ours that is imported by now.

    Else it does so at the first use, and takes a Struct for known before it is done: two threads
    that decode the first ones side by side end the process by a segmentation fault (seen with
    msgspec 0.22.0). To be called while there is one thread.
    """
    for cls in _subclasses(msgspec.Struct):
        if cls.__module__.startswith(OURS):
            msgspec.msgpack.Decoder(cls)


def _subclasses(cls: type[Any]) -> Iterator[type[Any]]:
    found: list[type[Any]] = cls.__subclasses__()
    for one in found:
        yield one
        yield from _subclasses(one)
