"""How amounts of memory are written in settings."""

from __future__ import annotations

import re

from onebox.core.errors import InvalidInput

MIB = 1024**2
GIB = 1024**3
_UNITS = {
    "b": 1,
    "k": 1024, "kib": 1024, "kb": 1000,
    "m": MIB, "mib": MIB, "mb": 1000**2,
    "g": GIB, "gib": GIB, "gb": 1000**3,
    "t": 1024**4, "tib": 1024**4, "tb": 1000**4,
}  # fmt: skip
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*([a-z]*|%)", re.IGNORECASE | re.ASCII)
_HOW = "write bytes with a unit (8GiB, 8GB, 512MiB) or a share of the device's memory (0.8, 80%)"


def parse_bytes(text: str) -> int | float:
    """'8GiB' → bytes as int; '0.8', '80%' and '1' → share as float. `G` means GiB.

    Raises:
        InvalidInput: it is neither, or so little that a unit was forgotten.
    """
    found = _AMOUNT.fullmatch(text.strip())
    unit = found[2].lower() if found else None
    if found is None or (unit and unit != "%" and unit not in _UNITS):
        raise InvalidInput(f"{text!r} is not an amount of memory: {_HOW}.")
    number = float(found[1])
    if unit == "%" or (not unit and number <= 1):
        return _share(text, number / 100 if unit == "%" else number)
    amount = int(number * _UNITS[unit or "b"])
    if amount < MIB:
        raise InvalidInput(f"{text!r} is {amount} bytes, too little to be meant: {_HOW}.")
    return amount


def _share(text: str, share: float) -> float:
    if not 0 < share <= 1:
        raise InvalidInput(f"{text!r} is not a share above 0 and up to 1: {_HOW}.")
    return share
