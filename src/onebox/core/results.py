"""What a task returns (`Output`), and the `Artifact` that an `Encoder` makes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

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


class StreamEncoder(Protocol):
    """Makes one file of parts that come one after the other. Used by one thread at a time."""

    def feed(self, value: Any) -> bytes:
        """The next bytes of the file; there may be none yet."""

    def end(self) -> bytes:
        """The last bytes."""


class Encoder(ABC):
    """Turns the outputs of one kind into bytes.

    Runs in the worker's CPU pool; on an engine thread only where it says that it is quick.
    """

    kind: ClassVar[str]

    def is_quick(self, output: Output) -> bool:
        """Whether it takes less time than handing it to the pool would: then it is not."""
        return False

    @abstractmethod
    def encode(self, output: Output) -> Artifact: ...

    def stream(self, options: dict[str, Any]) -> StreamEncoder:
        """For a result that is sent part by part; `options` are those of its first part."""
        raise NotImplementedError(f"outputs of the kind {self.kind} are not sent in parts")
