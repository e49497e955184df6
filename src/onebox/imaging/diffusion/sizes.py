"""The size in which a picture that was sent is drawn on."""

from __future__ import annotations

Size = tuple[int, int]

MIN_SIDE = 64
MAX_SIDE = 2048
# A picture somewhat larger than what a model learnt still comes out well; further above, things
# are drawn twice.
MAX_TIMES_NATIVE = 1.5


def working_size(picture: Size, native: int | None, multiple: int) -> Size:
    """Width and height in pixels: the picture's own, or the native area if it is much larger.

    Args:
        native: side of the pictures that the model learnt.
        multiple: of what the sides must be.
    """
    width, height = picture
    area = native * native if native else MAX_SIDE * MAX_SIDE
    most = MAX_TIMES_NATIVE * area if native else area
    return of_area(picture, area if width * height > most else width * height, multiple)


def of_area(picture: Size, area: int, multiple: int) -> Size:
    """The size of the picture's shape that has about so many pixels."""
    width, height = picture
    scale = (area / (width * height)) ** 0.5
    return rounded(width * scale, multiple), rounded(height * scale, multiple)


def rounded(side: float, multiple: int) -> int:
    """The nearest multiple that is a side a model can draw."""
    least, most = -(-MIN_SIDE // multiple) * multiple, MAX_SIDE // multiple * multiple
    return min(most, max(least, round(side / multiple) * multiple))
