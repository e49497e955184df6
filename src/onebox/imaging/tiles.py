"""Large pictures in tiles of one size that overlap, and put together again without seams."""

from __future__ import annotations

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


def joined(tiles: Sequence[Any], places: Sequence[Corner], size: Size, overlap: int) -> Any:
    """One Pillow RGB picture of tiles in their places; where they overlap, one fades into the next.

    Tiles come row by row, as `corners` has them.
    """
    from PIL import Image

    rows: dict[int, Any] = {}
    for tile, (left, top) in zip(tiles, places, strict=True):
        row = rows.setdefault(top, Image.new("RGB", (size[0], tile.height)))
        row.paste(tile, (left, 0), _fading(tile.size, overlap if left else 0, 0))
    # Rows as wholes: pasted one over the other, tiles would end sharply in the rows above them.
    whole = Image.new("RGB", size)
    for top, row in rows.items():
        whole.paste(row, (0, top), _fading(row.size, 0, overlap if top else 0))
    return whole


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along one side, evenly spread."""
    count = 1 if length <= tile else -(-(length - overlap) // (tile - overlap))
    return [round(number * (length - tile) / max(1, count - 1)) for number in range(count)]


def _fading(size: Size, from_left: int, from_top: int) -> Any:
    """How much of a tile covers what lies there already, Pillow L, rising over so many pixels."""
    import numpy as np
    from PIL import Image

    across, down = (
        np.minimum(1, np.arange(1, side + 1) / (rise + 1))
        for side, rise in zip(size, (from_left, from_top), strict=True)
    )
    return Image.fromarray((np.outer(down, across) * 255).round().astype(np.uint8))
