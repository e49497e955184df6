"""Says what a clip of `onebox-shapes-motion` shows: colours, shape, and where the shape goes.

Nothing here is learned; each frame is looked at as `shapes_score` looks at a picture. No
torch.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from onebox.starter.motion_data import DIRECTIONS
from onebox.starter.shapes_score import (
    classify_shape,
    dominant_colours,
    foreground_mask,
    place_and_size,
)

CLEAR = 0.1  # share of the side; a shape that goes less far hardly moves


@dataclass(frozen=True, slots=True)
class ClipFindings:
    """What one clip shows.

    `colours` and `shape` are what most frames show, `steady` says that all frames have the
    same two colours. `moved` is (x, y), the mean displacement from one frame to the next as a
    share of the side; y grows downwards.
    """

    colours: tuple[str, str]
    steady: bool
    shape: str
    moved: tuple[float, float]
    frames: int

    def goes(self, direction: str) -> bool:
        """Whether the displacement along the asked axis has the asked sign."""
        return self._along(direction) > 0

    def goes_clearly(self, direction: str) -> bool:
        """Whether the shape also goes far enough, and farther than along the other axis."""
        whole, (x, y) = self._along(direction) * (self.frames - 1), self.moved
        aside = abs(y if DIRECTIONS[direction][0] else x) * (self.frames - 1)
        return whole >= CLEAR and whole > aside

    def _along(self, direction: str) -> float:
        return float(np.dot(self.moved, DIRECTIONS[direction]))


def look_at(frames: Sequence[Image.Image]) -> ClipFindings:
    """What a clip of at least two frames shows; frames without a shape are left out of `moved`."""
    colours = Counter(dominant_colours(frame) for frame in frames)
    shapes = Counter(classify_shape(frame) for frame in frames)
    commonest = colours.most_common(1)[0][0]
    return ClipFindings(
        commonest, len(colours) == 1, shapes.most_common(1)[0][0], movement(frames), len(frames)
    )


def movement(frames: Sequence[Image.Image]) -> tuple[float, float]:
    """The mean displacement (x, y) of the shape's centre a frame; zeros where it is never seen.

    A mean of differences depends on the first and the last only; frames in which the shape is
    not seen count as time that went by.
    """
    seen = [
        (i, *place_and_size(frame)[:2])
        for i, frame in enumerate(frames)
        if foreground_mask(frame).any()
    ]
    seen = [(i, x, y) for i, x, y in seen if (x, y) != (0.0, 0.0)]
    if len(seen) < 2:
        return (0.0, 0.0)
    (first, x0, y0), (last, x1, y1) = seen[0], seen[-1]
    return ((x1 - x0) / (last - first), (y1 - y0) / (last - first))
