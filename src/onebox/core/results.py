"""What a task returns (`Output`), and what it becomes once an encoder made bytes of it
(`Artifact`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True, slots=True)
class Output:
    """One raw result of a task, made on an engine thread.

    Attributes:
        kind: name of the encoder that turns `value` into bytes ("image", "json", …).
        value: whatever that encoder takes (a PIL image, a plain JSON value, …).
        options: how to encode (format, quality).
        meta: plain values returned to the client beside the bytes (seed, width, …).
        embedded: strings written into the file itself where the format can carry them.
    """

    kind: str
    value: Any
    options: dict[str, Any] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)
    embedded: dict[str, str] = field(default_factory=dict)


class Artifact(msgspec.Struct, frozen=True):
    """One encoded result. Exactly one of `data` and `spool_id` is set."""

    media_type: str
    data: bytes | None = None
    spool_id: str | None = None
    meta: dict[str, Any] = {}


class Timing(msgspec.Struct, frozen=True):
    """Where the time of a request went, in seconds."""

    queue_s: float = 0.0
    load_s: float = 0.0
    run_s: float = 0.0
    encode_s: float = 0.0
