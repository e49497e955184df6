"""What a model that cuts out must offer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol


class Segmenter(Protocol):
    """Owns its weights; used on one engine thread.

    Attributes:
        stretches: what it is least and most sure of count as 0 and 1 in a matte, as its authors
            have it.
    """

    size_bytes: int
    stretches: bool

    def see(self, picture: Any, labels: Sequence[int]) -> Any:
        """How likely each pixel is in the foreground.

        Args:
            picture: Pillow, RGB.
            labels: numbers of those that make the foreground; empty for models without.

        Returns:
            A float32 numpy array [height, width] from 0 to 1, in the model's own size, which
            stands for the whole picture.
        """

    def close(self) -> None:
        """Let go of the weights."""


class SegmentationBundle:
    """One loaded model that cuts out; its segmenter owns the weights."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter
        self.size_bytes = segmenter.size_bytes

    def close(self) -> None:
        self.segmenter.close()
        del self.segmenter
