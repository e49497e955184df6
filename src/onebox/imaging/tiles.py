"""Large pictures in tiles of one size that overlap, and put together again without seams."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

Size = tuple[int, int]
Corner = tuple[int, int]


def corners(size: Size, tile: Size, overlap: int) -> list[Corner]:
    """Left and top of tiles that cover a picture, row by row, sharing `overlap` pixels at least.

    `tile` is no larger than the picture.
    """
    across, down = (_starts(size[axis], tile[axis], overlap) for axis in (0, 1))
    return [(left, top) for top in down for left in across]


def cut(picture: Any, corner: Corner, tile: Size) -> Any:
    """One tile of a Pillow picture."""
    left, top = corner
    return picture.crop((left, top, left + tile[0], top + tile[1]))


def joined(tiles: Sequence[Any], places: Sequence[Corner], size: Size) -> Any:
    """One Pillow RGB picture of tiles in their places; where they overlap, one fades into the next.

    `size` is that of the whole, which the tiles cover.
    """
    import numpy as np
    from PIL import Image

    width, height = size
    whole = np.zeros((height, width, 3), np.float32)
    weights = np.zeros((height, width, 1), np.float32)
    for tile, (left, top) in zip(tiles, places, strict=True):
        across, down = (np.asarray(bell(side), np.float32) for side in tile.size)
        weight = np.outer(down, across)[:, :, None]
        spot = (slice(top, top + tile.height), slice(left, left + tile.width))
        whole[spot] += np.asarray(tile.convert("RGB"), np.float32) * weight
        weights[spot] += weight
    # In place: of the largest results each copy takes 200 MB.
    whole /= weights
    return Image.fromarray(np.rint(whole, out=whole).astype(np.uint8))


def bell(length: int) -> list[float]:
    """How much each pixel along a tile's side weighs: most in the middle, hardly at the ends.

    A cosine: two that overlap pass into each other without a kink.
    """
    return [math.sin(math.pi * (place + 0.5) / length) ** 2 for place in range(length)]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side, evenly spread."""
    count = 1 if length <= tile else -(-(length - overlap) // (tile - overlap))
    return [round(number * (length - tile) / max(1, count - 1)) for number in range(count)]
