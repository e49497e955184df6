"""`Clip`: the frames of a video, as they go from a task to what encodes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames of one size. They are never all one array: each chunk was decoded by itself.

    Attributes:
        chunks: arrays [n, h, w, 3] of uint8, in the order they are shown; none is empty.
        fps: frames a second.
    """

    chunks: Sequence[Any]
    fps: float

    @property
    def frames(self) -> int:
        return sum(len(chunk) for chunk in self.chunks)

    @property
    def width(self) -> int:
        return int(self.chunks[0].shape[2])

    @property
    def height(self) -> int:
        return int(self.chunks[0].shape[1])

    @property
    def seconds(self) -> float:
        return self.frames / self.fps

    def __iter__(self) -> Iterator[Any]:
        """Frame after frame, [h, w, 3]."""
        return (frame for chunk in self.chunks for frame in chunk)
