"""Masks: which pixels of a picture a request wants edited, and how a drawing is put there."""

from __future__ import annotations

from typing import Any, Literal

from onebox.core.errors import InvalidInput
from onebox.imaging.opening import open_picture

MaskMode = Literal["alpha", "luminance"]

EDIT = 255
# From here on a shade of a luminance mask is white rather than black.
_WHITE = 128
# How far a mask of another size may be from the picture's shape; that much is rounding.
_SHAPE_TOLERANCE = 0.02


def mask_of(raw_mask: bytes, size: tuple[int, int], mode: MaskMode, param: str) -> Any:
    """Which pixels to edit: a Pillow image "L" of this size, 255 = edit and 0 = keep.

    Args:
        raw_mask: PNG, JPEG or WebP file.
        size: of the upright picture; a mask of another size and the same shape is resized to it.
        mode: "alpha": fully transparent = edit, as OpenAI has it; "luminance": white = edit.
        param: the request field it came in.

    Raises:
        InvalidInput: it cannot be read, has another shape, has no alpha channel though its alpha
            is asked for, or leaves nothing to edit.
    """
    picture = open_picture(raw_mask, param, alpha=True, name="the mask")
    require_shape(picture.size, size, param, name="the mask")
    chosen = _transparent(picture, param) if mode == "alpha" else _white(picture)
    return _not_empty(_resized(chosen, size), mode, param)


def feathered(mask: Any, radius: int) -> Any:
    """The mask with a soft rim of `radius` pixels, which lies wholly inside it.

    So 0 stays 0. The ramp is measured in steps to the outside; where the mask is thinner than two
    radii, it rises to 255 in the middle all the same. The picture's own border is no rim.
    """
    import numpy as np
    from PIL import Image

    inside = np.asarray(mask) >= _WHITE
    if radius < 1 or inside.all():
        return mask
    box = mask.getbbox()
    if box is None:
        return mask
    left, top = max(0, box[0] - 1), max(0, box[1] - 1)
    cut = (slice(top, box[3] + 1), slice(left, box[2] + 1))
    depth = _depths(inside[cut], radius + 1)
    deepest = _maxima(depth, radius)
    soft = np.zeros(inside.shape, np.uint8)
    soft[cut] = np.rint(depth * np.float32(255) / np.maximum(deepest, 1))
    return Image.fromarray(soft)


def pasted(original: Any, drawn: Any, mask: Any) -> Any:
    """The drawing in the original's place where the mask says so.

    Args:
        original: RGB or RGBA; the result has its size and mode.
        drawn: resized if it is of another size.
        mask: "L" of the original's size: where it is 0 the original's pixels stay as they are, bit
            for bit; where it is 255 the drawing's are taken; in between they are mixed.
    """
    from PIL import Image

    if drawn.size != original.size:
        drawn = drawn.resize(original.size, Image.Resampling.LANCZOS)
    result = Image.composite(drawn.convert(original.mode), original, mask)
    result.info = dict(original.info)
    return result


def require_shape(own: tuple[int, int], size: tuple[int, int], param: str, *, name: str) -> None:
    """Raises InvalidInput for a mask of another shape, which was made for another picture, or for
    one that was turned since.
    """
    (own_width, own_height), (width, height) = own, size
    fitting = own_width * height / width
    if abs(own_height - fitting) > max(1.0, _SHAPE_TOLERANCE * fitting):
        raise InvalidInput(
            f"{name} is {own_width}x{own_height} and the picture {width}x{height}, which is "
            "another shape; send one of the picture's size (upright, as EXIF has it)",
            param=param,
            details={"mask": list(own), "picture": list(size)},
        )


def _transparent(picture: Any, param: str) -> Any:
    if picture.mode != "RGBA":
        raise InvalidInput(
            "the mask has no alpha channel; make the pixels to edit transparent, or say "
            "mask_mode=luminance where white means edit",
            param=param,
        )
    return picture.getchannel("A").point([EDIT] + [0] * 255)


def _white(picture: Any) -> Any:
    """Strokes on a transparent layer count as strokes on black."""
    from PIL import Image

    if picture.mode == "RGBA":
        ground = Image.new("RGBA", picture.size, "black")
        picture = Image.alpha_composite(ground, picture)
    return picture.convert("L").point([0] * _WHITE + [EDIT] * (256 - _WHITE))


def _resized(mask: Any, size: tuple[int, int]) -> Any:
    from PIL import Image

    return mask if mask.size == size else mask.resize(size, Image.Resampling.NEAREST)


def _not_empty(mask: Any, mode: MaskMode, param: str) -> Any:
    if mask.getbbox() is None:
        what = (
            "none of its pixels is fully transparent; for a mask where white means edit, say "
            "mask_mode=luminance"
            if mode == "alpha"
            else "none of its pixels is white"
        )
        raise InvalidInput(f"the mask leaves nothing to edit: {what}", param=param)
    return mask


def _depths(inside: Any, most: int) -> Any:
    """Of each pixel the steps to the nearest one outside, the eight neighbours being one step away.

    Two passes over the rows, so that a wide rim takes no longer than a narrow one.

    Args:
        inside: bool [h, w]; beyond the border there is no outside.
        most: larger ones are this.

    Returns:
        uint16 [h, w].
    """
    import numpy as np

    depths = np.where(inside, np.uint16(most), np.uint16(0))
    across = np.arange(depths.shape[1], dtype=np.int32)
    # From the top left and back: each pass takes the steps from one side.
    for rows in (depths, depths[::-1, ::-1]):
        above = rows[0]
        for row in rows:
            wide = np.pad(above, 1, mode="edge")
            nearest = np.minimum(np.minimum(wide[:-2], wide[1:-1]), wide[2:]) + 1
            row[:] = np.minimum.accumulate(np.minimum(row, nearest) - across) + across
            above = row
    return depths


def _maxima(values: Any, radius: int) -> Any:
    """The largest of each value and its neighbours up to `radius` rows and columns away."""
    import numpy as np

    window = 2 * radius + 1
    for _ in range(2):
        values = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
        width = 1
        while width < window:
            step = min(width, window - width)
            values = np.maximum(values[:-step], values[step:])
            width += step
        values = values.T
    return values
