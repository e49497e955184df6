"""What usage is counted in, and how amounts of it are written: `pictures=100, device_seconds=3600`.

A day and a month are those of UTC.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from onebox.core.settings_forms import split_list

# What a request takes, and what it is charged.
COUNTED = (
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "pictures",
    "audio_seconds",
    "video_seconds",
    "device_seconds",
)
UNITS = (*COUNTED, "credits")


def parse_amounts(value: Any, units: Iterable[str] = UNITS) -> dict[str, float]:
    """Amounts by unit, from such a text or a mapping; none of them is negative.

    Raises ValueError with what is wrong.
    """
    given = dict(value) if isinstance(value, Mapping) else _pairs(value)
    known = tuple(units)
    for unit in given:
        if unit not in known:
            raise ValueError(f"unknown unit {unit[:100]!r}; there are {', '.join(known)}")
    return {unit: amount_of(unit, amount) for unit, amount in given.items()}


def amount_of(name: str, value: Any) -> float:
    """A number of at least 0. Raises ValueError."""
    try:
        amount = float(value)
    except (TypeError, ValueError, OverflowError):
        # The last for a whole number of hundreds of digits.
        amount = math.nan
    if isinstance(value, bool) or not (math.isfinite(amount) and amount >= 0):
        raise ValueError(f"{name} must be a number of at least 0, not {str(value)[:100]!r}")
    return amount


def pairs_of(value: Any) -> dict[str, str]:
    """'a=1, b=2' → {'a': '1', 'b': '2'}. Raises ValueError for a part that is none."""
    pairs: dict[str, str] = {}
    for part in split_list(value):
        name, equals, amount = part.partition("=")
        if not equals or not name.strip():
            raise ValueError(f"{part[:100]!r} must be written as unit=number")
        pairs[name.strip()] = amount.strip()
    return pairs


def _pairs(value: Any) -> dict[str, str]:
    if not isinstance(value, str):
        raise ValueError("must be written as unit=number, unit=number")
    return pairs_of(value)
