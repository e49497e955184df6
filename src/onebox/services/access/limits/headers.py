"""What an answer says about rate limits, as OpenAI's do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["requests", "tokens"]
Headers = tuple[tuple[bytes, bytes], ...]
# As pages of other origins must be allowed to see them (CORS).
NAMES = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
    "x-ratelimit-limit-tokens",
    "x-ratelimit-remaining-tokens",
    "x-ratelimit-reset-tokens",
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a window stands.

    Attributes:
        reset_s: seconds until the oldest request that counts is a minute old, or until no token
            counts any more; until one is free, where none is.
    """

    limit: int
    remaining: int
    reset_s: float


def limit_headers(kind: Kind, standing: Standing | None) -> Headers:
    """None where there is no limit."""
    if standing is None:
        return ()
    values = (str(standing.limit), str(standing.remaining), duration(standing.reset_s))
    return tuple(
        (f"x-ratelimit-{figure}-{kind}".encode(), value.encode())
        for figure, value in zip(("limit", "remaining", "reset"), values, strict=True)
    )


def duration(seconds: float) -> str:
    """Seconds as OpenAI writes them, rounded up: "120ms", "1s", "6m0s", "1h0m0s"."""
    # To a microsecond: differences of clocks are a little off.
    seconds = round(max(0.0, seconds), 6)
    millis = math.ceil(round(seconds * 1000, 3))
    if millis < 1000:
        return f"{millis}ms"
    minutes, left = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}h" if hours else ""
    return f"{text}{minutes}m{left}s" if hours or minutes else f"{left}s"
