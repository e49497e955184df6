"""Where a product goes on the picture that is drawn around it: arithmetic over whole pixels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from onebox.core.errors import InvalidInput
from onebox.imaging.opening import MAX_PIXELS

Position = Literal[
    "top-left",
    "top",
    "top-right",
    "left",
    "center",
    "right",
    "bottom-left",
    "bottom",
    "bottom-right",
]
# Share of the free room that lies left of the product and above it.
ANCHORS: dict[str, tuple[float, float]] = {
    "top-left": (0.0, 0.0),
    "top": (0.5, 0.0),
    "top-right": (1.0, 0.0),
    "left": (0.0, 0.5),
    "center": (0.5, 0.5),
    "right": (1.0, 0.5),
    "bottom-left": (0.0, 1.0),
    "bottom": (0.5, 1.0),
    "bottom-right": (1.0, 1.0),
}
ASPECT_RATIO = re.compile(r"^(\d{1,4}):(\d{1,4})$")
MAX_RATIO = 8
MAX_SIDE = 8192


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of whole pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def corners(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom, as Pillow says it."""
        return self.left, self.top, self.left + self.width, self.top + self.height


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a client may say about the place.

    Attributes:
        size: of the picture that is made, in pixels.
        aspect_ratio: the same as WIDTH:HEIGHT; the smallest that holds the photo is made.
        padding: share of the picture's width and height that stays free at each edge, below 0.5.
        position: None: where it is in the photo, whose middle is that of the picture.
        scale: share of the picture that the product fills, the way in which it fills more of it.
            None: its size in the photo, or smaller where that does not fit.
    """

    size: tuple[int, int] | None = None
    aspect_ratio: str | None = None
    padding: float = 0.0
    position: Position | None = None
    scale: float | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What is cut out of the photo, and where it goes on a canvas of `size` (width, height)."""

    size: tuple[int, int]
    taken: Box
    placed: Box

    @property
    def is_resampled(self) -> bool:
        return (self.taken.width, self.taken.height) != (self.placed.width, self.placed.height)


def lay_out(photo: tuple[int, int], product: Box, wishes: Wishes) -> Layout:
    """The layout of a product in a photo of this size. Raises InvalidInput."""
    size = canvas_size(photo, wishes)
    factor = _factor(photo, product, size, wishes)
    width = min(size[0], max(1, round(product.width * factor)))
    height = min(size[1], max(1, round(product.height * factor)))
    left, top = _place(photo, product, size, (width, height), factor, wishes)
    return Layout(size, product, Box(left, top, width, height))


def canvas_size(photo: tuple[int, int], wishes: Wishes) -> tuple[int, int]:
    """Width and height of the picture that is made. Raises InvalidInput."""
    if wishes.size is not None:
        size = wishes.size
    elif wishes.aspect_ratio is not None:
        wide, high = parse_ratio(wishes.aspect_ratio)
        # The photo's width, or what its height asks for.
        width = max(photo[0], -(-photo[1] * wide // high))
        size = width, max(photo[1], round(width * high / wide))
    else:
        size = photo
    if max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS:
        raise InvalidInput(
            f"the picture would have {size[0]}x{size[1]} pixels, with at most {MAX_SIDE} a side "
            f"and {MAX_PIXELS} in all; ask for a smaller size",
            param="size",
            details={"width": size[0], "height": size[1], "max_side": MAX_SIDE, "max": MAX_PIXELS},
        )
    return size


def parse_ratio(text: str) -> tuple[int, int]:
    """ "16:9" → (16, 9). Raises InvalidInput."""
    match = ASPECT_RATIO.match(text)
    wide, high = (int(match[1]), int(match[2])) if match else (0, 0)
    if not wide or not high or max(wide, high) > MAX_RATIO * min(wide, high):
        raise InvalidInput(
            f"aspect_ratio must be WIDTH:HEIGHT such as 16:9, at most {MAX_RATIO}:1 or "
            f"1:{MAX_RATIO}",
            param="aspect_ratio",
            details={"max": MAX_RATIO, "received": text[:32]},
        )
    return wide, high


def _factor(photo: tuple[int, int], product: Box, size: tuple[int, int], wishes: Wishes) -> float:
    """By what the product's sides are multiplied."""
    free = 1 - 2 * wishes.padding
    fits = min(size[0] * free / product.width, size[1] * free / product.height)
    if wishes.scale is not None:
        filled = min(size[0] / product.width, size[1] / product.height)
        return min(filled * wishes.scale, fits)
    return min(1.0, size[0] / photo[0], size[1] / photo[1], fits)


def _place(
    photo: tuple[int, int],
    product: Box,
    size: tuple[int, int],
    product_size: tuple[int, int],
    factor: float,
    wishes: Wishes,
) -> tuple[int, int]:
    """Left and top of the product."""
    corner = (product.left, product.top)
    extent = (product.width, product.height)
    places = []
    for axis in (0, 1):
        edge = round(size[axis] * wishes.padding)
        last = size[axis] - edge - product_size[axis]
        if wishes.position is not None:
            place = edge + ANCHORS[wishes.position][axis] * (last - edge)
        else:
            # How far the product's middle lies from the photo's, in pixels of the canvas.
            off = (corner[axis] + extent[axis] / 2 - photo[axis] / 2) * factor
            place = size[axis] / 2 + off - product_size[axis] / 2
        places.append(_within(round(place), edge, last, size[axis] - product_size[axis]))
    return places[0], places[1]


def _within(place: int, edge: int, last: int, furthest: int) -> int:
    """The nearest place inside of the padding, on the canvas in any case."""
    return max(0, min(max(min(place, last), edge), furthest))
